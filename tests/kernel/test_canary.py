"""Law 6: a hook counts as present only while the observer's own events come back through it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
from pathlib import Path

import pytest

from firsthand.observe import canaries
from firsthand.probe import libbpf, pins, rounds
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.kernel.test_torture import Truth


def _hooks(observed: Observed, event: str) -> dict[str, str]:
    row = observed.rows(f"SELECT hooks FROM observer WHERE event = '{event}' ORDER BY time DESC LIMIT 1")[0]
    found: dict[str, str] = json.loads(row["hooks"])
    return found


def _instance(observed: Observed) -> str:
    return observed.command[observed.command.index("--instance") + 1]


def test_every_hook_is_proven_before_ready(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`present` is said of what came back, those of watched files too; nothing of the canary is in the record."""
    configured(tmp_path, monkeypatch, "[files]\nenabled = true\n")
    with Observed(history, [cgroup.path]) as observed:
        cgroup.run(["/bin/true"]).wait()
    assert {name: _hooks(observed, "ready")[name].partition(":")[0] for name in canaries.HOOKS} == dict.fromkeys(
        canaries.HOOKS, "present"
    )
    assert not observed.rows("SELECT 1 FROM process WHERE args[1] = 'firsthand-canary'")
    assert not observed.rows("SELECT 1 FROM container WHERE cgroup_path LIKE '%canary%'")
    assert not observed.rows("SELECT 1 FROM file WHERE path LIKE '%canary%'")


@pytest.mark.landing("a round of canaries that does not come")
def test_a_hook_that_was_silenced_is_a_loss(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that somebody took out of its place without a word: the next canary tells, in the record and as a blind spot."""
    configured(tmp_path, monkeypatch, "canary_seconds = 1\n")
    observed = Observed(history, [cgroup.path])
    observed.start()
    entry = libbpf.call("bpf_obj_get", str(pins.folder_of(_instance(observed)) / "entry_process_exec").encode())
    libbpf.call("bpf_map_delete_elem", entry, struct.pack("<I", 0))
    observed.wait("SELECT 1 FROM loss WHERE cause = 'canary_silent' AND detail LIKE '%process_exec%'")
    assert observed.stop() == 0
    assert _hooks(observed, "stop")["process_exec"].startswith("missing")
    silent = {row["detail"] for row in observed.rows("SELECT detail FROM loss WHERE cause = 'canary_silent'")}
    assert not any("process_fork" in detail for detail in silent)


def test_a_stranger_in_the_canarys_place_is_recorded(cgroup: TestCgroup, history: Path) -> None:
    """Nobody hides there: a cgroup that was not announced, and what runs in it, stand in the record."""
    with Observed(history, [cgroup.path]) as observed:
        parents = list(cgroup.path.parent.glob(f"firsthand-canary-{_instance(observed)}"))
        assert parents, "the canary's own cgroup lies beside the test's"
        folder = parents[0] / "stranger"
        rounds.cause(parents[0], "stranger")
        assert not folder.exists()
    rows = observed.rows(
        "SELECT event, count(*) AS n FROM process WHERE cgroup_path LIKE '%/stranger' GROUP BY event ORDER BY event"
    )
    assert {row["event"]: row["n"] for row in rows} == {"exec": 1, "exit": 2, "fork": 1}


@pytest.mark.landing("a flood")
def test_a_flood_does_not_push_out_a_gain_of_privilege(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable_dir: Path
) -> None:
    """While the ordinary ring overflows, what gains privilege keeps its own."""
    configured(tmp_path, monkeypatch, "ring_bytes = 65536\n")
    gain = executable_dir / "gain"
    shutil.copy("/bin/true", gain)
    gain.chmod(0o4755)
    observed = Observed(history, [cgroup.path])
    observed.start()
    pid = roles.pids(observed.process.pid)["observer"]
    os.kill(pid, signal.SIGSTOP)
    work = Truth(cgroup, tmp_path)
    work.past(500)
    for number in range(20):
        cgroup.run([str(gain), str(number)], user=65534).wait()
    work.end()
    os.kill(pid, signal.SIGCONT)
    assert observed.stop() == 0
    gained = observed.rows("SELECT args[2] AS word FROM process WHERE event = 'exec' AND flag_names LIKE '%SETUID%'")
    assert {row["word"] for row in gained} == {str(number) for number in range(20)}
    assert observed.rows("SELECT sum(events) AS n FROM loss WHERE cause IN ('sequence_gap', 'open_tail')")[0]["n"] > 0
    assert not observed.rows("SELECT 1 FROM loss WHERE ring = 1")
