"""ask/connected.py: everything that asked for a name or reached it, and nothing that only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.questions import connected
from firsthand.errors import UsageError
from tests.asking import ask, rows, told
from tests.samples import ALL
from tests.scenes import Process, Scene

BAD, EVIL, SHARED = "known-bad.actorz.com", "203.0.113.66", "198.51.100.7"


@pytest.fixture(scope="module", params=[False, True], ids=["log", "segments"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A theft: a shell's `nc` asks for the bad name and sends to it; around it what comes near."""
    scene = Scene()
    scene.observed(-1, 600)
    job = scene.pod("job-1", "10.244.0.5", 0, namespace="jobs", workload="jobs/Job/job")
    web = scene.pod("web-1", "10.244.0.6", 0, workload="shop/Deployment/web")
    shell = scene.process(job, "/bin/sh", ["job.sh"], 1.0)
    cat = scene.process(job, "/bin/cat", ["/app/keystore"], 2.0, parent=shell)
    scene.exit(cat, 2.1)
    netcat = scene.process(job, "/bin/nc", [BAD, "443"], 3.0, parent=shell, capabilities=ALL)
    scene.ask(netcat, BAD, [EVIL], 3.1)
    scene.connect(netcat, EVIL, 443, 3.2, sent=4_096, received=10, names=[BAD], capabilities=ALL, lasts=2.0)
    scene.exit(netcat, 5.3)
    # Long after, by the address alone: it was given to this pod; and the same before it was.
    scene.connect(netcat, EVIL, 443, 400.0)
    scene.connect(netcat, EVIL, 443, 2.9)
    # Near misses: the same address by another pod that never asked, by another name, a name below, one that only ends alike.
    python = scene.process(web, "/usr/bin/python3", ["app.py"], 1.0)
    scene.connect(python, EVIL, 443, 10.0)
    cookie = scene.connect(python, EVIL, 443, 11.0, names=["fine.example.com"])
    scene.request(python, cookie, EVIL, 443, 11.1, sni="fine.example.com", protocol="tls", ja4="t13d")
    scene.ask(python, "sub.known-bad.actorz.com", [SHARED], 12.0)
    scene.connect(python, SHARED, 443, 12.1, names=["sub.known-bad.actorz.com"])
    scene.ask(python, "notknown-bad.actorz.com", ["198.51.100.8"], 13.0)
    scene.connect(python, "198.51.100.8", 443, 13.1, names=["notknown-bad.actorz.com"])
    # By an alias, by the inner Host of a fronted connection, refused, and through a service's address.
    scene.ask(python, "cdn.example.net", ["203.0.113.9"], 20.0, alias="front.evil.net")
    scene.connect(python, "203.0.113.9", 443, 20.1, names=["cdn.example.net"])
    fronted = scene.connect(python, SHARED, 443, 21.0, names=["ok.example.com"])
    scene.request(
        python, fronted, SHARED, 443, 21.1, host="hidden.evil.org", method="GET", protocol="http/1.1", marks="FRONTED"
    )
    scene.connect(python, "203.0.113.70", 8443, 22.0, outcome="refused")
    scene.connect(python, "10.96.0.20", 80, 23.0, nat=("10.244.0.5", 8080))
    nginx = scene.process(web, "/usr/sbin/nginx", [], 1.0)
    scene.accept(nginx, EVIL, 8080, 30.0)
    return scene.write(tmp_path_factory.mktemp("history"), kept=bool(request.param))


def test_the_theft(history: Path) -> None:
    """Law: the lookup and the connection, with arguments, rights, bytes, times and the processes behind; nothing else."""
    found = ask(history, "connected", BAD)
    lookup, connection, later = found["rows"]
    assert (lookup["what"], lookup["exe"], lookup["outcome"], lookup["addresses"]) == (
        "asked",
        "/bin/nc",
        "NOERROR",
        [EVIL],
    )
    assert (connection["what"], connection["peer"], connection["names"]) == ("connected", f"{EVIL}:443", [BAD])
    assert (connection["args"], connection["beyond"]) == (["nc", BAD, "443"], "all") and "sys_admin" in connection[
        "capabilities"
    ]
    assert (connection["bytes_sent"], connection["bytes_received"], connection["outcome"]) == (4096, 10, "established")
    assert (connection["pod"], connection["namespace"], connection["workload"]) == ("job-1", "jobs", "jobs/Job/job")
    assert connection["time"] < connection["until"] and connection["lineage"][0].startswith("/bin/sh[")
    assert (later["time"], later["names"], later["why"]) == ("2026-03-01T12:06:40.000000Z", None, ["given"])
    assert found["answer"].startswith(f"Yes: 2 of 16 connections match {BAD} (2 established); asked for once")


def test_an_address_without_the_name_is_told_apart(history: Path) -> None:
    """Law: who went to the name's address without it is counted, not named; who used another name there is not even counted."""
    assert (
        f"2 more went to addresses that it had, with no name known (`ask connected {EVIL}`)"
        in ask(history, "connected", BAD)["answer"]
    )


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (
            "*.known-bad.actorz.com",
            [("asked", ["sub.known-bad.actorz.com"]), ("connected", ["sub.known-bad.actorz.com"])],
        ),
        ("KNOWN-BAD.actorz.com.", [("asked", [BAD]), ("connected", [BAD]), ("connected", None)]),
        ("front.evil.net", [("asked", ["cdn.example.net"]), ("connected", ["cdn.example.net"])]),
        ("hidden.evil.org", [("connected", ["ok.example.com"])]),
        ("fine.example.com", [("connected", ["fine.example.com"])]),
        ("203.0.113.70", [("connected", None)]),
        ("10.244.0.5", [("connected", None)]),
        ("10.96.0.20", [("connected", None)]),
    ],
)
def test_ways_to_match(history: Path, target: str, found: list[Any]) -> None:
    """Law: below a name, in any letter case, through an alias, by SNI and Host, by the address before and after translation."""
    told = rows(history, "connected", target)
    assert [(row["what"], row["names"] or None) for row in told] == found


def test_an_address(history: Path) -> None:
    """Law: both directions, each with its own word, and the names that gave it."""
    found = ask(history, "connected", EVIL)
    assert [(row["what"], row["exe"], row["outcome"]) for row in found["rows"]] == [
        ("connected", "/bin/nc", "established"),
        ("asked", "/bin/nc", "NOERROR"),
        ("connected", "/bin/nc", "established"),
        ("connected", "/usr/bin/python3", "established"),
        ("connected", "/usr/bin/python3", "established"),
        ("accepted", "/usr/sbin/nginx", "established"),
        ("connected", "/bin/nc", "established"),
    ]
    assert f"given by {BAD}" in found["answer"] and "(5 established, 1 incoming)" in found["answer"]


def test_a_range(history: Path) -> None:
    """Law: addresses within it, and no others."""
    peers = {row["peer"] for row in rows(history, "connected", "203.0.113.64/28") if row["what"] != "asked"}
    assert {peer.rpartition(":")[0] for peer in peers} == {EVIL, "203.0.113.70"}
    assert rows(history, "connected", "192.0.2.0/24") == []


def test_filters(history: Path) -> None:
    """Law: a namespace's own, by the names that pods have."""
    assert {row["pod"] for row in rows(history, "connected", EVIL, "-n", "shop")} == {"web-1"}
    assert rows(history, "connected", BAD, "-n", "shop") == []
    assert len(rows(history, "connected", EVIL, "--limit", "2")) == 2
    assert ask(history, "connected", EVIL, "--limit", "2")["truncated"]


def test_no_is_an_honest_no(history: Path) -> None:
    """Law: nothing found says out of how many; those out of the cluster without a name may be what is looked for."""
    found = ask(history, "connected", "never.example.com")
    assert found["rows"] == [] and not found["completeness"]["complete"]
    assert found["answer"].startswith("No: 0 of 16 connections match never.example.com; never asked for")
    (reason,) = found["completeness"]["reasons"]
    assert reason.startswith("4 connections out of the cluster have no name: never.example.com may be among them")
    assert reason.endswith("they went to 203.0.113.66 and 1 more address")
    assert ask(history, "connected", "198.51.100.99")["completeness"]["complete"], "an address is in each row"


@pytest.mark.parametrize("peer", ["10.1.2.3", "127.0.0.9"])
def test_no_is_proven_where_all_have_names(tmp_path: Path, peer: str) -> None:
    """Law: a connection within the cluster needs none, and one whose head has a name is not the one that is looked for."""
    scene = Scene()
    scene.observed(-1, 60)
    scene.connect(scene.process(None, "/usr/bin/curl"), peer, 443, 1.0)
    found = ask(scene.write(tmp_path), "connected", "never.example.com")
    assert found["answer"].startswith("No: 0 of 1 ") and found["completeness"]["complete"], found["completeness"]


def _seen(scene: Scene, curl: Process) -> None:
    """A connection that was there when observing began."""
    row = curl.row | {
        "local_address": "192.168.7.2",
        "local_port": 40_000,
        "peer_address": "198.51.100.9",
        "peer_port": 443,
    }
    scene.add("connection", -0.5, event="seen", cookie=77, transport="tcp", flag_names="BEFORE", **row)


@pytest.mark.parametrize(
    ("begin", "complete"),
    [
        (lambda scene, curl: scene.connect(curl, "198.51.100.9", 443, 1.0, lasts=None), False),
        (lambda scene, curl: scene.connect(curl, "198.51.100.9", 443, 1.0, lasts=100.0), False),
        (lambda scene, curl: scene.connect(curl, "198.51.100.9", 443, 1.0, lasts=20.0), True),
        (lambda scene, curl: scene.connect(curl, "198.51.100.9", 443, 60.0, answered=30.0, lasts=None), False),
        (lambda scene, curl: scene.flow(curl, "198.51.100.9", 443, 60.0), False),
        (lambda scene, curl: scene.flow(curl, "198.51.100.9", 443, 1.0, lasts=None), False),
        (lambda scene, curl: scene.flow(curl, "198.51.100.9", 443, 1.0, lasts=20.0), True),
        (lambda scene, curl: scene.flow(curl, "198.51.100.9", 443, 60.0, incoming=True), True),
        (lambda scene, curl: scene.accept(curl, "198.51.100.9", 443, 60.0), True),
        (lambda scene, curl: scene.connect(curl, "198.51.100.9", 443, 1.0, lasts=None, names=["one.example"]), True),
        (_seen, False),
    ],
    ids=[
        "open",
        "closed within",
        "closed before",
        "tried",
        "short flow",
        "flow",
        "flow before",
        "served",
        "accepted",
        "named",
        "older",
    ],
)
def test_what_has_no_name_and_is_open_within_the_window(
    tmp_path: Path, begin: Callable[[Scene, Process], object], complete: bool
) -> None:
    """Law: not only what begins in the window may be what is looked for: what goes on in it, and what has no row but its end."""
    scene = Scene()
    scene.observed(-1, 600)
    begin(scene, scene.process(None, "/usr/bin/curl"))
    window = ("--since", scene.at(50).isoformat(), "--until", scene.at(500).isoformat())
    found = ask(scene.write(tmp_path), "connected", "never.example.com", *window)
    assert found["completeness"]["complete"] is complete, found["completeness"]


def test_unnamed_addresses_of_private_ranges_are_not_judged_and_said(tmp_path: Path) -> None:
    """A connection to an address that nobody known holds and no name gave may be to anything within the site: the sentence has it."""
    scene = Scene()
    scene.observed(-1, 60)
    curl = scene.process(None, "/usr/bin/curl")
    scene.connect(curl, "10.1.2.3", 443, 1.0)
    scene.connect(curl, "10.1.2.4", 80, 1.0, names=["one.internal"])
    scene.connect(curl, "127.0.0.1", 80, 1.0)
    found = ask(scene.write(tmp_path), "connected", "never.example.com")
    assert found["answer"].endswith("; 1 connection to unnamed addresses of private ranges is not judged (10.1.2.3)")


def test_a_missing_hook_makes_no_incomplete(tmp_path: Path) -> None:
    """Law: where connections were not seen, `no` is not complete."""
    scene = Scene()
    scene.observed(-1, 60, hooks='{"connection_state": "missing: refused"}')
    scene.connect(scene.process(None, "/usr/bin/curl"), "198.51.100.1", 443, 1.0)
    found = ask(scene.write(tmp_path), "connected", "never.example.com")
    assert not found["completeness"]["complete"] and "connection_state" in found["completeness"]["reasons"][0]


def test_as_a_tree(history: Path) -> None:
    """Law: what was reached stands below its process, and that below those behind it."""
    _, shell, netcat, lookup, connection, *_ = told(history, "connected", BAD, "--tree").splitlines()
    assert "/bin/sh job.sh [" in shell and shell.endswith("job-1/app")
    assert netcat.startswith("└─ ") and f"/bin/nc {BAD} 443 [" in netcat
    assert lookup.strip() == f"? {BAD} NOERROR {EVIL}"
    assert connection.strip() == f"→ {EVIL}:443 ({BAD}) established 4.1 kB out, 10 B in"


@pytest.mark.parametrize("text", ["", "*", "a b", "http://x.com/", "x..y", "*.", "10.0.0.0/40", "a*.com"])
def test_what_is_no_target(text: str) -> None:
    """Law: a wrong word is said, never looked for."""
    with pytest.raises(UsageError):
        connected.parse(text)


def test_names_of_other_letters() -> None:
    """Law: a name is looked for as DNS holds it."""
    assert connected.parse("bücher.example").name == "xn--bcher-kva.example"
    assert connected.parse("::ffff:10.0.0.1").addresses == ["10.0.0.1"]


def test_a_question_without_an_answer_is_asked_and_not_served(tmp_path: Path) -> None:
    """Law: who asked in vain asked; only a server that left a question unanswered was asked."""
    scene = Scene()
    scene.observed(-1, 600)
    process = scene.process(scene.pod("web-1", "10.244.0.6", 0), "/bin/nc", [BAD], 1.0)
    message = process.row | {"name": BAD, "type": "A", "peer_address": "10.96.0.10", "peer_port": 53}
    scene.add("name", 2.0, event="question", direction="out", **message)
    scene.add("name", 2.0, event="unanswered", direction="out", **message)
    found = ask(scene.write(tmp_path), "connected", BAD)
    assert found["answer"].endswith("asked for once") and "DNS server here" not in found["answer"]
    assert [(row["what"], row["outcome"]) for row in found["rows"]] == [("asked", "no answer")]


def test_a_head_whose_connection_began_before_the_window(tmp_path: Path) -> None:
    """Law: a name in a head is a match, also where no row of its connection is in the window."""
    scene = Scene()
    scene.observed(-1, 600)
    process = scene.process(scene.pod("web-1", "10.244.0.6", 0), "/bin/curl", [BAD], 1.0)
    cookie = scene.connect(process, EVIL, 443, 2.0)
    scene.request(process, cookie, EVIL, 443, 100.0, host=BAD, method="GET", protocol="http/1.1")
    window = ("--since", scene.at(50).isoformat(), "--until", scene.at(500).isoformat())
    found = ask(scene.write(tmp_path), "connected", BAD, *window)
    assert found["answer"].startswith(f"Yes: 0 of 0 connections match {BAD}; named in 1 head of TLS or HTTP")
    assert [row["what"] for row in found["rows"]] == ["request"]
