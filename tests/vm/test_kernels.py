"""The subjects process and connection on Debian's kernels, with cgroup v2, v1 and hybrid: what the guest caused is what came through the ring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthand.dissect import dns
from firsthand.probe.spec import AT_ROOT
from tests import require
from tests.kernel.test_programs import MOST_VERIFIED
from tests.vm import chosen, kernels, report, sockets
from tests.vm.initramfs import build
from tests.vm.machine import Boot, boot

_AT_ROOT = {hook.name for hook in AT_ROOT}
_REMEDY = "mount cgroup2 on the machine"


@pytest.fixture(scope="module")
def initramfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's system, made once."""
    require.qemu()
    return build(tmp_path_factory.mktemp("initramfs"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(one, id=f"{one.series} {one.mode}", marks=pytest.mark.xdist_group(" ".join(one)))
        for one in chosen.boots()
        if one.work == chosen.EVENTS
    ],
)
def booted(request: pytest.FixtureRequest, initramfs: Path) -> Boot:
    """One boot of each kernel and cgroup mode."""
    kernel = kernels.kernel(request.param.series)
    require.kernels(kernel is not None, f"Debian's cloud kernel {request.param.series} cannot be fetched")
    assert kernel is not None
    found = boot(kernel, initramfs, request.param.mode)
    report.keep(request.param, found)
    return found


def test_every_hook_is_present(booted: Boot) -> None:
    """Each hook attaches by one of its programs; credentials before an exec by fentry where the tracepoint is missing."""
    missing = {name: state for name, state in booted.kernel["hooks"].items() if not state.startswith("present")}
    assert missing == {}
    way = "process_prepare" if "6.12" in booted.kernel["release"] else "process_prepare_fentry"
    assert booted.kernel["hooks"]["process_prepare"] == f"present: {way}"


def test_no_program_is_long_to_verify(booted: Boot) -> None:
    """What tests/kernel/test_programs.py holds on this machine's kernel; by root, who loads what a pod could not attach, or nothing."""
    assert all(0 < count <= MOST_VERIFIED for count in booted.kernel["verified"].values()), booted.kernel["verified"]


def test_the_rights_of_a_pod_are_enough(booted: Boot) -> None:
    """CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN load and attach every hook that root can; where cgroup v2 is mounted nowhere, those at its
    root are missing, with the remedy: mounting it takes CAP_SYS_ADMIN."""
    expected = dict(booted.kernel["hooks"])
    assert set(expected) > _AT_ROOT
    if booted.mode == "v1":
        refused = {name: booted.pod["hooks"][name] for name in _AT_ROOT}
        assert all(state.startswith("missing: ") and _REMEDY in state for state in refused.values()), refused
        expected |= refused
    assert booted.pod["hooks"] == expected


def test_a_cgroup_namespace_is_no_blind_spot(booted: Boot) -> None:
    """Where it is a border that no process crosses (v2, nsdelegate), canaries have their place inside."""
    v2 = booted.kernel["hierarchy"] == "v2"
    assert booted.pod["canaries"] == {
        "border": "No such file or directory" if v2 else "taken",
        "place": "pod/firsthand-canary-vm" if v2 else "firsthand-canary-vm",
    }


@pytest.mark.counts_losses
def test_nothing_is_lost_or_malformed(booted: Boot) -> None:
    """Produced numbers and rows agree, no helper call failed."""
    assert booted.malformed == 0 and booted.stats["produced"] == len(booted.rows)
    assert set(booted.stats["failures"].values()) == {0}


def test_a_plain_exec_is_whole(booted: Boot) -> None:
    """Path, arguments, environment names, ids, parent, namespaces, cgroup."""
    row = booted.of(booted.truth["plain"], "exec")
    assert (row["exe"], row["args"]) == ("/bin/busybox", ["/bin/true", "one", "two words"])
    assert row["env_names"] == ["PATH", "NAMED"] and row["parent_tgid"] == booted.truth["parent"]
    assert (row["uid"], row["euid"], row["namespace_pid"]) == (0, 0, booted.truth["plain"])
    assert row["cgroup_id"] == booted.truth["scope"] and row["cap_permitted"] == row["cap_bounding"] > 1 << 37
    assert row["host_namespaces"] == "mount uts ipc net pid cgroup time user"
    assert booted.of(booted.truth["plain"], "exit")["exit_code"] == 0


def test_ends_are_told(booted: Boot) -> None:
    """Exit codes and signals."""
    assert booted.of(booted.truth["coded"], "exit")["exit_code"] == 7
    killed = booted.of(booted.truth["killed"], "exit")
    assert (killed["exit_code"], killed["exit_signal"]) == (None, 9)
    assert booted.of(booted.truth["script"], "exit")["exit_code"] == 4
    assert killed["duration"] > 0 and killed["peak_memory"] > 0


def test_a_set_uid_gain_is_seen(booted: Boot) -> None:
    """By the credentials before the exec, from whichever hook the kernel has."""
    row = booted.of(booted.truth["elevated"], "exec")
    assert {"SETUID", "SECURE"} <= set(row["flag_names"].split(",")) and "GAIN_UNSURE" not in row["flag_names"]
    assert (row["uid"], row["euid"]) == (1000, 0)


def test_the_set_up_of_a_runtime_is_marked(booted: Boot) -> None:
    """Moved into the cgroup from outside, it is the runtime's until it executes a program that is no sealed copy."""
    flags = {
        name: (booted.of(booted.truth[name], "exec")["flag_names"] or "").split(",")
        for name in ("plain", "memory", "shells")
    }
    assert "RUNTIME" in flags["memory"] and "RUNTIME" not in flags["plain"] + flags["shells"]
    children = [
        row for row in booted.rows if row["table"] == "process" and row.get("parent_tgid") == booted.truth["shells"]
    ]
    assert children and all("RUNTIME" not in (row["flag_names"] or "") for row in children)


def test_scripts_and_memory_files(booted: Boot) -> None:
    """A script names its interpreter; a memory file is flagged and named."""
    script = booted.of(booted.truth["script"], "exec")
    assert (script["script_raw"], script["interpreter_raw"], script["exe"]) == (
        "/tmp/script",
        "/bin/sh",
        "/bin/busybox",
    )
    memory = booted.of(booted.truth["memory"], "exec")
    assert "MEMFD" in memory["flag_names"] and "memfd:payload" in memory["exe"]


def test_what_ran_before_is_seen(booted: Boot) -> None:
    """The iterator finds it, with its arguments."""
    row = booted.of(booted.truth["early"], "seen")
    assert row["args"] == ["/bin/cat"] and row["stdin"] == "pipe"
    assert booted.of(booted.truth["early"], "exit")["exit_signal"] == 9


def test_equal_short_processes_fold(booted: Boot) -> None:
    """Eight of them are rows of their own or in a count, which the sweeps' iterators tell; nothing stays withheld."""
    told = [row for row in booted.rows if row["table"] == "process" and row.get("args") == ["/bin/true", "equal"]]
    assert [row["event"] for row in told] == ["exec", "exec", "folded"]
    assert (told[-1]["folded_count"], told[-1]["exit_code"], booted.stats["withheld"]) == (6, 0, 0)
    assert len([row for row in booted.rows if row.get("args") == ["/bin/true", "unlike"]]) == 1


def test_the_scope_holds(booted: Boot) -> None:
    """No row of a process outside."""
    assert not [row for row in booted.rows if row.get("exec_tgid") == booted.truth["outside"]]


def test_a_pid_namespace_is_told(booted: Boot) -> None:
    """Process 1 of a namespace of its own, which is not the host's."""
    row = next(r for r in booted.rows if r["event"] == "exec" and r["args"] == ["namespaced"])
    assert row["namespace_pid"] == 1 and row["parent_tgid"] == booted.truth["namespaced"]
    assert "pid" not in row["host_namespaces"].split()


def test_the_cgroup_is_named_before_its_processes(booted: Boot) -> None:
    """A container row gives the path of the scope's id."""
    paths = {row["cgroup_id"]: row["cgroup_path"] for row in booted.rows if row["table"] == "container"}
    assert paths[booted.truth["scope"]] == "/scope"


def _told(booted: Boot, what: str, whose: str, *events: str) -> list[dict[str, Any]]:
    """The rows of a socket by what the guest calls it: these events, all of one of its two processes."""
    rows = booted.socket(booted.truth["sockets"][what])
    assert tuple(row["event"] for row in rows) == events, rows
    assert {row["exec_tgid"] for row in rows} == {booted.truth["sockets"][whose]}
    assert {row["cgroup_id"] for row in rows} == {booted.truth["scope"]}
    return rows


def test_a_tcp_connection_is_whole(booted: Boot) -> None:
    """Both ends, with bytes and ports; accepted when it was accepted, before anything was read or written."""
    known = booted.truth["sockets"]
    connect, closed = _told(booted, "connected", "client", "connect", "close")
    accept, ended = _told(booted, "accepted", "server", "accept", "close")
    assert (connect["outcome"], closed["outcome"], ended["outcome"]) == ("established", "closed", "closed")
    assert (closed["bytes_sent"], closed["bytes_received"]) == (sockets.SENT, sockets.ANSWERED)
    assert (ended["bytes_sent"], ended["bytes_received"]) == (sockets.ANSWERED, sockets.SENT)
    assert (connect["local_port"], connect["peer_port"]) == (known["connected_port"], known["port"])
    assert (accept["local_port"], accept["peer_port"]) == (known["port"], known["connected_port"])
    assert accept["ktime"] < known["accepted_by"] and accept["opener_tgid"] == known["server"]
    assert booted.kernel["hooks"]["connection_accept"] == "present: connection_accept"


def test_a_holder_that_only_reads(booted: Boot) -> None:
    """Also where acceptances are told by themselves: the child that reads its parent's connection has taken it."""
    known = booted.truth["sockets"]
    rows = booted.socket(known["handed"])
    assert [row["event"] for row in rows] == ["accept", "taken", "taken", "close"], rows
    assert [row["exec_tgid"] for row in rows[:2]] == [known["server"], known["reader"]]
    assert rows[1]["opener_tgid"] == known["server"]


def test_equal_short_connections_fold(booted: Boot) -> None:
    """Each is told once at each end, by rows of its own or in a count, with all its bytes."""
    known = booted.truth["sockets"]
    for whose, port, made, sent, received in (
        ("client", "peer_port", "connect", 5, sockets.ANSWERED),
        ("server", "local_port", "accept", sockets.ANSWERED, 5),
    ):
        rows = [row for row in booted.rows if row["table"] == "connection" and row.get(port) == known["probed"]]
        rows = [
            row for row in rows if row["exec_tgid"] == known[whose] and "LISTENING" not in (row["flag_names"] or "")
        ]
        ends = [row for row in rows if row["event"] in ("close", "folded")]
        many = [row["folded_count"] for row in rows if row["event"] == "folded"]
        assert len([row for row in rows if row["event"] == made]) == sockets.EQUAL - sum(many) and len(many) == 1, rows
        assert many[0] >= sockets.EQUAL - 2 and len(ends) == sockets.EQUAL - many[0] + 1
        assert sum(row["bytes_sent"] for row in ends) == sent * sockets.EQUAL
        assert sum(row["bytes_received"] for row in ends) == received * sockets.EQUAL


def test_attempts_and_listeners(booted: Boot) -> None:
    """Who is refused, and who listens until its end."""
    (refused,) = _told(booted, "refused", "client", "connect")
    assert (refused["outcome"], refused["error"], refused["peer_port"]) == ("refused", 111, 9)
    listens, ended = _told(booted, "listener", "server", "listen", "close")
    assert listens["local_port"] == ended["local_port"] == booted.truth["sockets"]["port"]


def test_a_name_is_asked_for(booted: Boot) -> None:
    """A flow of datagrams at each end, and both messages of it for the dissector to read."""
    for what, whose, sent in (("asked", "client", True), ("names", "server", False)):
        (flow,) = _told(booted, what, whose, "close")
        assert (flow["transport"], flow["segments_sent"], flow["segments_received"]) == ("udp", 1, 1)
        packets = [row for row in booted.rows if row["table"] == "packet" and row["cookie"] == flow["cookie"]]
        question, answer = sorted(
            (dns.read(bytes.fromhex(row["payload"])) for row in packets), key=lambda one: one.response
        )
        assert question.name == answer.name == sockets.NAME and answer.answers[0].data == sockets.ADDRESS
        lengths = {row["direction"]: row["payload_length"] for row in packets}
        assert lengths == {"out": flow["bytes_sent"], "in": flow["bytes_received"]}
        assert (flow["bytes_sent"] < flow["bytes_received"]) == sent


def test_a_unix_socket_is_where_it_is(booted: Boot) -> None:
    """The listening end's path and process, not the caller's word for it."""
    (row,) = _told(booted, "unix", "client", "connect")
    assert (row["transport"], row["path"], row["flag_names"]) == ("unix", "/tmp/doors/door", None)
    assert row["peer_tgid"] == booted.truth["sockets"]["server"]


@pytest.mark.parametrize(("what", "protocol"), [("raw", 1), ("packets", 0x0806)])
def test_what_lies_below_the_transports(booted: Boot, what: str, protocol: int) -> None:
    """Raw and packet sockets: who made one, for which protocol, and its end."""
    opened, closed = _told(booted, what, "client", "open", "close")
    transport = {"raw": "raw", "packets": "packet"}[what]
    for row in (opened, closed):
        assert (row["transport"], row["protocol"], row["local_address"], row["local_port"]) == (
            transport,
            protocol,
            None,
            None,
        )
    assert closed["duration"] >= closed["ktime"] - opened["ktime"] > 0


def test_mounts_are_recorded_by_the_ends_of_their_calls(booted: Boot) -> None:
    """By fexit, so that no other call is slower: mounts, a bind over a link, a refused try, the new calls, the canary, and a 32-bit umount."""
    rows = [row for row in booted.rows if row["table"] == "mount" and row["exec_tgid"] == booted.truth["mounts"]]
    assert [(row["event"], row["error"], row["target_raw"]) for row in rows] == [
        ("unshare", None, None),
        ("propagation", None, "/"),
        ("mount", None, "/tmp/mounts-a"),
        ("bind", None, "/tmp/mounts-link"),
        ("mount", 2, "/nowhere"),
        ("create", None, None),
        ("attach", None, "/tmp/mounts-c"),
        ("umount", None, "/tmp/mounts-b"),
        ("mount", 22, None),
        ("umount", None, "/tmp/mounts-c"),
    ]
    assert {row["tier"] for row in rows} == {"fexit"}
    bound = rows[3]
    assert (bound["target"], bound["root"], bound["flag_names"]) == ("/tmp/mounts-b", "/", "SOURCE_RAW,REDIRECTED")
    attached = rows[6]
    assert (attached["target"], attached["filesystem"], attached["root"]) == ("/tmp/mounts-c", "tmpfs", "/")
    assert [row["options"] for row in (rows[7], rows[9])] == ["detach", "detach"]
    assert rows[8]["call"] == "canary"  # where a filter refuses the mount calls, and for its own argument alone
