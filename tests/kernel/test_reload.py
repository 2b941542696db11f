"""Settings that change while observing goes on: applied without a loss, or refused with the old ones kept."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.asking import ask
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.kernel.test_disk import SupervisorLines
from tests.kernel.test_torture import Truth, agree


def _write(config: Path, text: str) -> None:
    """As an editor does: a new file in the old one's place."""
    new = config.with_suffix(".new")
    new.write_text(text)
    new.replace(config)


@pytest.mark.landing("take-overs under load")
def test_changed_settings_are_applied_under_load(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redaction, then ring sizes: each starts the observer anew, and no event is lost or doubled; then a wrong file."""
    config = tmp_path / "config.toml"
    _write(config, "")
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(config))
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    work = Truth(cgroup, tmp_path, "2000")
    work.past(20)
    before = roles.pids(observed.process.pid)
    _write(
        config,
        "[redaction.patterns]\nword = 'sesame-(?P<secret>[a-z]+)'\n[redaction.programs]\ntrue = ['--gate SECRET']\n",
    )
    heard.wait("the settings have changed: the observer started anew")
    cgroup.run(["/bin/true", "sesame-open", "--gate", "barred"]).wait()
    assert roles.pids(observed.process.pid)["keeper"] == before["keeper"]
    _write(config, "ring_bytes = 'much'\n")
    heard.wait("the settings in force are kept")
    now = roles.pids(observed.process.pid)
    work.past(work.counted()[0] + 20)
    assert roles.pids(observed.process.pid) == now
    truth = work.end()
    observed.process.send_signal(2)
    assert observed.process.wait() == 0
    heard.join()
    agree(observed, truth)
    assert (
        observed.rows("SELECT args[2] AS word FROM process WHERE event = 'exec' AND args[1] = '/bin/true'")[0]["word"]
        == "sesame-[redacted]"
    )
    assert observed.rows(
        "SELECT args[4] AS word, redaction FROM process WHERE event = 'exec' AND args[1] = '/bin/true'"
    ) == [{"word": "[redacted]", "redaction": "program:true,word"}]


#: Sends one DNS question to a place where nobody answers.
_LOOK_UP = """
import socket, sys, dns.message
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.sendto(dns.message.make_query(sys.argv[1], "A").to_wire(), ("127.0.0.9", 53))
"""


@pytest.mark.landing("three starts")
def test_what_settings_left_out_is_not_denied(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS off, then on again: a name that was asked for meanwhile is not denied, also by answers while observing goes on."""
    config = tmp_path / "config.toml"
    _write(config, "")
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(config))
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    reasons = []
    for number, names in enumerate(("true", "false", "true")):
        if number:
            _write(config, f"[network]\nnames = {names}\n")
            heard.wait("the settings have changed: the observer started anew", number)
        since = datetime.now(UTC)
        cgroup.run([sys.executable, "-c", _LOOK_UP, f"reload-{number}.example"]).wait()
        for begin in ("", since.isoformat()):
            found = ask(history, "connected", f"reload-{number}.example", *(("--since", begin) if begin else ()))
            assert found["answer"].startswith("No" if number == 1 else "Yes"), (number, found)
            reasons.append([one for one in found["completeness"]["reasons"] if "setting network.names" in one])
    observed.process.send_signal(2)
    assert observed.process.wait() == 0
    heard.join()
    assert [len(some) for some in reasons[:-1]] == [0, 0, 1, 1, 1]
    assert not ask(history, "connected", "reload-1.example")["completeness"]["complete"]


@pytest.mark.landing("several starts")
def test_other_ring_sizes_take_the_old_rings_in(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rings of another size cannot be taken over: what the old ones held is recorded, and the moment between is said."""
    config = tmp_path / "config.toml"
    _write(config, "")
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(config))
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    cgroup.run(["/bin/true", "before"]).wait()
    _write(config, "ring_bytes = 4194304\n")
    heard.wait("the settings have changed: the observer started anew")
    cgroup.run(["/bin/true", "after"]).wait()
    observed.process.send_signal(2)
    assert observed.process.wait() == 0
    heard.join()
    words = [
        row["word"] for row in observed.rows("SELECT args[2] AS word FROM process WHERE event = 'exec' ORDER BY time")
    ]
    assert words == ["before", "after"]
    events = [row["event"] for row in observed.rows("SELECT event FROM observer WHERE event <> 'alive' ORDER BY ktime")]
    assert events == ["start", "ready", "stop", "start", "ready", "stop"]
