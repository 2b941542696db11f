"""What the doctor finds in a record."""

from __future__ import annotations

import json
import time
from pathlib import Path

from firsthand.health import doctor
from firsthand.probe.spec import STANDING
from tests import histories
from tests.samples import HOOKS_PRESENT, observed

_WHY = "packet_in: cgroup v2 is mounted nowhere; mount cgroup2 on the machine"


def test_blind_spots_are_findings_with_their_reason(tmp_path: Path) -> None:
    """Law: a missing hook is told with what is not seen and why; and so is what no hook would see. What no answer needs is no warning."""
    now = time.time_ns() // 1000
    hooks = json.loads(HOOKS_PRESENT) | {"packet_in": f"missing: {_WHY}", "sniff_close": "missing: refused"}
    spots = ["UDP, DNS and the heads of TLS and HTTP that are received", "what is translated elsewhere"]
    rows = observed(now - 1, now, last="alive", hooks=json.dumps(hooks), blind_spots=json.dumps(spots))
    histories.write(tmp_path / "history", rows)
    found = [one for one in doctor.examine(tmp_path / "history", ()) if one.what in ("hook", "blind spot")]
    assert [(one.state, one.detail) for one in found] == [
        ("warn", f"packet_in is missing: blind spot: {spots[0]} ({_WHY})"),
        ("ok", "sniff_close is missing: blind spot: when packet sockets are closed (refused)"),
        ("warn", spots[1]),
        *(("ok", f"on every kernel: {spot}") for spot in STANDING),
    ]
    assert all(one.remedy for one in found)
