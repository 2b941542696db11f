"""`firsthand doctor`: each of its findings, brought about for real; what concerns the whole machine, in a mount namespace of the test's own."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firsthand.health import doctor
from firsthand.probe import libbpf, pins
from tests import histories, require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed
from tests.kernel.test_disk import wait_for
from tests.samples import observed as told
from tests.samples import process_lives

Found = dict[str, list[dict[str, Any]]]


def _doctor(history: Path, *before: str, code: int | None = None, **environment: str) -> Found:
    """Its findings by what they are of; run in a mount namespace of its own, after the words of `before` as shell commands."""
    command = [sys.executable, "-m", "firsthand", "doctor", "--json", "--history", str(history)]
    script = " && ".join([*before, 'exec "$@"'])
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    found: Found = {}
    for one in json.loads(run.stdout):
        found.setdefault(one["what"], []).append(one)
    failed = any(one["state"] == "fail" for of in found.values() for one in of)
    assert run.returncode == int(failed), run.stderr
    assert code is None or run.returncode == code
    return found


@pytest.fixture
def recorded(history: Path) -> Path:
    """A history that somebody wrote a while ago."""
    require.root()
    histories.write(history, process_lives(5), told())
    return history


def _one(found: Found, what: str, state: str) -> str:
    """The detail of the only finding of this."""
    ((one,),) = (found[what],)
    assert one["state"] == state and (state == "ok" or one["remedy"]), one
    return str(one["detail"])


def test_a_kernel_without_types(recorded: Path) -> None:
    """Nothing can be loaded without BTF."""
    found = _doctor(recorded, "mount -t tmpfs none /sys/kernel/btf", code=1)
    assert "/sys/kernel/btf/vmlinux" in _one(found, "kernel", "fail")
    assert "BTF" in _one(_doctor(recorded), "kernel", "ok")


def test_a_kernel_that_is_locked_down(recorded: Path) -> None:
    """Confidentiality forbids reading kernel memory; integrity does not."""
    place = ["mount -t tmpfs none /sys/kernel/security", "printf '%s' > /sys/kernel/security/lockdown"]
    strict = _doctor(recorded, place[0], place[1] % "none integrity [confidentiality]\\n", code=1)
    assert "confidentiality" in _one(strict, "lockdown", "fail")
    assert "lockdown" not in _doctor(recorded, place[0], place[1] % "none [integrity] confidentiality\\n")


def test_a_kernel_whose_lsm_list_lacks_bpf(recorded: Path) -> None:
    """That is no failure, and is said."""
    place = ["mount -t tmpfs none /sys/kernel/security", "printf '%s' > /sys/kernel/security/lsm"]
    assert "capability,yama" in _one(_doctor(recorded, place[0], place[1] % "capability,yama"), "lsm", "ok")
    assert "lsm" not in _doctor(recorded, place[0], place[1] % "capability,bpf")


def test_another_user(recorded: Path, executable_dir: Path) -> None:
    """Who is not root may ask, and not observe."""
    found = doctor.examine(recorded, [])
    assert [one.state for one in found if one.what == "rights"] == ["ok"]
    # Asked once before, so that all is imported: the checkout may lie where another user cannot read.
    code = "import os; from pathlib import Path; from firsthand.health.doctor import examine\n"
    code += f"place = Path({str(executable_dir)!r}); examine(place, [])\n"
    code += "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
    code += "print([one.state for one in examine(place, []) if one.what in ('rights', 'fsync')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['warn', 'ok']"


def test_a_place_where_nothing_was_recorded(history: Path) -> None:
    """With the word that begins."""
    require.root()
    assert "nothing was recorded yet" in _one(_doctor(history), "history", "warn")


def test_a_disk_that_is_full_or_read_only(recorded: Path) -> None:
    """Both fail, each in its words."""
    small = [f"mount -t tmpfs -o size=1m none {recorded}", f"head -c 1010000 /dev/zero > {recorded}/filler"]
    assert "0.0 of 0.0 GB free" in _one(_doctor(recorded, *small, code=1), "disk", "fail")
    frozen = [f"mount --bind {recorded} {recorded}", f"mount -o remount,bind,ro {recorded}"]
    assert any("cannot be written" in one["detail"] for one in _doctor(recorded, *frozen, code=1)["disk"])


def test_a_slow_disk(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than is fit for a commit is said, in milliseconds."""
    fast = [one.state for one in doctor.examine(recorded, []) if one.what == "fsync"]
    monkeypatch.setattr(doctor, "_SLOW_MS", 0)
    slow = [one for one in doctor.examine(recorded, []) if one.what == "fsync"]
    assert fast[0] in ("ok", "warn") and [one.state for one in slow] == ["warn"] and " ms " in slow[0].detail


def test_a_record_that_cannot_be_read(recorded: Path) -> None:
    """The damage is a failing finding, and the rest is looked at all the same."""
    (recorded / "manifest.db").write_bytes(b"no database" * 1000)
    found = _doctor(recorded, code=1)
    assert "manifest.db" in _one(found, "record", "fail")
    assert {"clock", "disk"} <= found.keys()


def test_runtimes_that_listen_or_do_not(recorded: Path, tmp_path: Path) -> None:
    """A socket that nobody answers is said; where there is none, containers go by their ids."""
    config = tmp_path / "config.toml"
    sockets = [tmp_path / "lives.sock", tmp_path / "dead.sock", tmp_path / "absent.sock"]
    with socket.socket(socket.AF_UNIX) as lives, socket.socket(socket.AF_UNIX) as dead:
        lives.bind(str(sockets[0]))
        lives.listen()
        dead.bind(str(sockets[1]))
        config.write_text(f"[runtimes]\nsockets = {json.dumps([f'cri:{path}' for path in sockets])}\n")
        found = _doctor(recorded, FIRSTHAND_CONFIG=str(config))
    assert [(one["state"], Path(one["detail"].split()[0].rstrip(":")).name) for one in found["runtime"]] == [
        ("ok", "lives.sock"),
        ("warn", "dead.sock"),
    ]
    config.write_text(f"[runtimes]\nsockets = {json.dumps([f'cri:{sockets[2]}'])}\n")
    assert "by their ids" in _one(_doctor(recorded, FIRSTHAND_CONFIG=str(config)), "runtimes", "ok")


def test_what_was_left_attached(cgroup: TestCgroup, history: Path) -> None:
    """A kernel side that nobody reads is named, with what it holds and both remedies; one that is read is well."""
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    assert [one["state"] for one in _pins(history, observed)] == ["ok"]
    assert observed.stop() == 0
    (left,) = _pins(history, observed)
    pins.remove(observed.instance)
    assert left["state"] == "warn" and "MB of kernel memory" in left["detail"] and " 0.0 MB" not in left["detail"]
    assert observed.instance in left["remedy"]
    assert not _pins(history, observed)


def _pins(history: Path, observed: Observed) -> list[dict[str, Any]]:
    """Findings of this observer's pins. In a mount namespace of its own the filesystem of pins is there all the same."""
    return [one for one in _doctor(history).get("pins", []) if observed.instance in one["detail"]]


@pytest.mark.landing("waits until hooks are silent")
def test_a_hook_that_is_silent_and_an_observer_that_ended(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blind spot and what is wrong of late are named while it observes; then that nothing is observed."""
    configured(tmp_path, monkeypatch, "canary_seconds = 1\n")
    observed = Observed(history, [cgroup.path])
    observed.start()
    wait_for(observed, "SELECT 1 FROM observer WHERE event = 'ready'")
    assert _one(_doctor(history), "observer", "ok")
    entry = libbpf.call("bpf_obj_get", str(pins.folder_of(observed.instance) / "entry_process_exit").encode())
    libbpf.call("bpf_map_delete_elem", entry, struct.pack("<I", 0))
    wait_for(observed, """SELECT 1 FROM observer WHERE hooks LIKE '%"process_exit": "missing%'""")
    found = _doctor(history)
    assert observed.stop() == 0
    assert "process_exit is missing: blind spot" in _one(found, "hook", "warn")
    assert any("process_exit" in one["detail"] for one in found["health"])
    assert "nothing is being observed" in _one(_doctor(history), "observer", "warn")
