"""Law 11, by attack: small histories in which something happened that a careless answer would deny. No answer is "no" and complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Answer, Request, answer
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from tests.asking import ask
from tests.samples import ALL, BOOT, NODE
from tests.scenes import Pod, Scene

DAY = 86_400.0


@pytest.fixture
def scene() -> Scene:
    """Observed for a day."""
    found = Scene()
    found.observed(-1, DAY)
    return found


def _answer(
    scene: Scene, directory: Path, *words: str, since: float | None = None, until: float | None = None, **more: Any
) -> Answer:
    if not directory.exists():
        scene.write(directory)
    times = [
        None if one is None else scene.at(one) for one in (since, DAY if until is None and since is not None else until)
    ]
    return answer(History(directory), Request(words[0], words[1:], *times, **more), scene.at(DAY))


def _lost(scene: Scene, at: float, **more: Any) -> None:
    row = {
        "node": NODE,
        "boot": BOOT,
        "cause": "sequence_gap",
        "events": 1,
        "since": scene.at(at - 1),
        "until": scene.at(at),
    }
    scene.add("loss", at, **row | more)


# ---- what goes on from before the window ----


@pytest.mark.parametrize(
    ("question", "table"),
    [
        ("privileged", "process"),
        ("listening", "connection"),
        ("connected 203.0.113.9", "connection"),
        ("connected bad.example", "request"),
        ("connected bad.example", "packet"),
        ("exfiltration", "connection"),
    ],
)
def test_what_began_before_the_window_was_lost_before_it(
    scene: Scene, tmp_path: Path, question: str, table: str
) -> None:
    """Law: what stands in the window may have begun where rows were lost; a loss of before the observers started does not count."""
    _lost(scene, 60, table_name=table)
    found = _answer(scene, tmp_path / "h", *question.split(), since=3600)
    assert found.found.total == 0 and not found.completeness.complete and found.completeness.events_lost == 1
    assert _answer(scene, tmp_path / "h", "processes", since=3600).completeness.complete


@pytest.mark.parametrize(("enabled", "complete"), [(True, False), (False, True), (None, True)])
def test_losses_of_what_settings_choose(tmp_path: Path, enabled: bool | None, complete: bool) -> None:
    """Law: a timeline counts lost rows of watched files where files were watched, and does not speak of them where they were not."""
    scene = Scene()
    settings = {} if enabled is None else {"file": {"enabled": enabled, "read": ["/etc/"], "write": []}}
    scene.observed(-1, DAY, settings=json.dumps(settings))
    _lost(scene, 60, table_name="file")
    found = _answer(scene, tmp_path / "h", "timeline", "host")
    assert found.completeness.complete == complete, found.completeness.reasons
    assert (found.completeness.events_lost == 1) == (not complete)


def test_a_tree_of_a_process_that_began_before_the_window(scene: Scene, tmp_path: Path) -> None:
    """Law: it is the root, and nothing of others is below it; of one that had ended nothing is shown."""
    daemon = scene.process(None, "/usr/bin/daemon", [], 10)
    ended = scene.process(None, "/usr/bin/ended", [], 11)
    scene.exit(ended, 20)
    scene.process(None, "/usr/bin/child", [], 5000, parent=daemon)
    scene.process(None, "/usr/bin/other", [], 5001)
    for process, exes in ((daemon, ["/usr/bin/daemon", "/usr/bin/child"]), (ended, [])):
        found = _answer(scene, tmp_path / "h", "tree", str(process.image["exec_tgid"]), since=3600)
        assert [row["exe"] for row in found.found.rows] == exes
        assert found.sentence.startswith("2 program images, 1 at the root" if exes else "Nothing of process ")


def test_a_tree_that_was_not_read_whole(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: rows beyond what is read are a reason, and `more rows` are all below."""
    monkeypatch.setattr("firsthand.ask.questions.tree.MOST", 5)
    parent = scene.process(None, "/bin/a", [], 1)
    for number in range(8):
        parent = scene.process(None, "/bin/a", [], 2 + number, parent=parent)
    found = _answer(scene, tmp_path / "h", "tree", limit=2)
    assert found.found.total == 5 and len(found.found.rows) == 2
    assert found.completeness.reasons == ["only the first 5 rows were looked at: narrow the window"]


def test_programs_that_ran_throughout_the_window_are_not_denied(scene: Scene, tmp_path: Path) -> None:
    """Law: the sentence says which programs were searched."""
    scene.process(None, "/bin/miner", [], 10)
    assert _answer(scene, tmp_path / "h", "processes", "exe=/bin/miner", since=3600).sentence == (
        "No: 0 of 0 program images that began or ended in the window match"
    )
    assert _answer(scene, tmp_path / "h", "processes", "exe=/bin/miner").sentence == "Yes: 1 of 1 program images match"


@pytest.mark.parametrize("target", ["203.0.113.9", "203.0.113.0/24", "bad.example", "*.example"])
@pytest.mark.parametrize(
    ("lasts", "outcome", "total"), [(None, "established", 1), (60.0, "established", 0), (None, "refused", 0)]
)
def test_a_connection_that_was_open_throughout_the_window(
    scene: Scene, tmp_path: Path, target: str, lasts: float | None, outcome: str, total: int
) -> None:
    """Law: who holds one open is connected, though no row of it is in the window; one that has ended, or never began, is not."""
    process = scene.process(None, "/bin/shell", [], 10)
    scene.connect(process, "203.0.113.9", 443, 11, lasts=lasts, outcome=outcome, names=["bad.example"])
    found = _answer(scene, tmp_path / "h", "connected", target, since=3600)
    assert found.found.total == total and found.sentence.startswith("Yes: 1 of 1 " if total else "No: 0 of 0 ")


def test_an_open_connection_that_only_its_head_names(scene: Scene, tmp_path: Path) -> None:
    """Law: the name was said before the window, and the connection is open in it."""
    process = scene.process(None, "/bin/shell", [], 10)
    cookie = scene.connect(process, "203.0.113.9", 443, 11, lasts=None)
    scene.request(process, cookie, "203.0.113.9", 443, 11.1, sni="bad.example", protocol="tls")
    found = _answer(scene, tmp_path / "h", "connected", "bad.example", since=3600)
    assert [row["why"] for row in found.found.rows] == [["request"]] and "named in" not in found.sentence


@pytest.mark.parametrize("names", [["www.good.example"], []])
@pytest.mark.parametrize("target", ["bad.test", "*.test"])
def test_a_lookup_of_before_the_window(scene: Scene, tmp_path: Path, target: str, names: list[str]) -> None:
    """Law: an alias, or an address of a name, is used for longer than the window: by who asked for it, and by nobody else."""
    asking, other = (
        scene.process(scene.pod(pod, f"10.1.0.{at}"), "/bin/x", [], at) for at, pod in ((7, "a"), (8, "b"))
    )
    scene.ask(asking, "www.good.example", ["10.9.9.9"], 10, alias="bad.test", ttl=5)
    for process in (asking, other):
        scene.connect(process, "10.9.9.9", 443, 5000, names=names)
    found = _answer(scene, tmp_path / "h", "connected", target, since=3600)
    assert [row["pod"] for row in found.found.rows] == ["a"]
    assert found.sentence.startswith("Yes: 1 of 2 ") and "asked for before the window alone" in found.sentence


_NAMELESS = Pod("", "", None, "00000000-0000-0000-0000-00000000000f", "a" * 64, "f" * 64, None)


@pytest.mark.parametrize(("ends", "runs"), [(None, True), (5000.0, True), (60.0, False)])
def test_a_container_without_a_name_that_ran_throughout_the_window(
    scene: Scene, tmp_path: Path, ends: float | None, runs: bool
) -> None:
    """Law: `unknown` lists it, though no row of it is in the window; the runtimes' own lists are not all that ran. What ended before is none."""
    process = scene.process(_NAMELESS, "/bin/evil", [], 10)
    if ends is not None:
        scene.exit(process, ends)
    history = tmp_path / "h"
    found = _answer(scene, history, "unknown", since=3600, until=7200)
    assert found.found.total == runs and found.sentence.startswith(f"{int(runs)} of {int(runs)} container")
    if runs:
        for question in ("pods", "containers", "images"):
            (reason,) = _answer(scene, history, question, since=3600, until=7200).completeness.reasons
            assert reason.startswith("1 container has an id and no name"), question


@pytest.mark.parametrize("words", [("tree",), ("tree", "web")])
def test_a_tree_says_what_it_shows(scene: Scene, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Law: programs that ran throughout the window are no row of it, and "0" is not said of them."""
    pod = scene.pod("web", "10.1.0.7")
    for at in (10, 9000):
        scene.process(pod, "/bin/web", [], at)
    found = _answer(scene, tmp_path / "h", *words, since=3600, until=7200)
    assert found.sentence == "0 program images that began or ended in the window, 0 at the root"


@pytest.mark.parametrize("question", ["timeline", "tree", "mounts"])
@pytest.mark.parametrize("name", ["h", "ho", "hos"])
def test_a_pod_whose_name_begins_the_word_host(scene: Scene, tmp_path: Path, question: str, name: str) -> None:
    """Law: its rows are its own."""
    scene.process(scene.pod(name, "10.1.0.7"), "/bin/own", [], 1)
    scene.process(None, "/bin/others", [], 2)
    rows = _answer(scene, tmp_path / "h", question, name).found.rows
    assert "/bin/others" not in {row.get(column) for row in rows for column in ("exe", "what")}
    assert len(rows) == {"timeline": 3, "tree": 1, "mounts": 0}[question]


@pytest.mark.parametrize("question", ["timeline", "tree", "mounts"])
@pytest.mark.parametrize("text", ["²", "١٢"])
def test_digits_of_other_alphabets_are_no_process(scene: Scene, tmp_path: Path, question: str, text: str) -> None:
    """Law: they are refused, and break nothing."""
    scene.process(None, "/bin/x", [], 1)
    with pytest.raises(UsageError, match="no pod, container or process named"):
        _answer(scene, tmp_path / "h", question, text)


# ---- addresses and names as people write them ----


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.9",
        "::ffff:203.0.113.9",
        "::ffff:cb00:7109",
        "203.0.113.0/24",
        "::ffff:203.0.113.0/120",
        "::ffff:203.0.113.9/128",
        "0.0.0.0/0",
    ],
)
def test_an_address_in_every_spelling(scene: Scene, tmp_path: Path, text: str) -> None:
    """Law: rows have IPv4 where an IPv6 address is mapped; so has the question."""
    scene.connect(scene.process(None, "/bin/evil", [], 1), "203.0.113.9", 443, 2)
    assert _answer(scene, tmp_path / "h", "connected", text).found.total == 1


@pytest.mark.parametrize("text", ["fe80::9", "FE80::0009", "fe80::9%eth0", "[fe80::9]", "fe80::/10"])
def test_a_link_local_address_in_every_spelling(scene: Scene, tmp_path: Path, text: str) -> None:
    """Law: a zone is nothing that a row has."""
    scene.connect(scene.process(None, "/bin/evil", [], 1), "fe80::9", 443, 2)
    assert _answer(scene, tmp_path / "h", "connected", text).found.total == 1


@pytest.mark.parametrize("text", ["10.0.0.256", "127.1", "1.2.3.4.5", "0x7f.1", "2130706433", "10.0.0"])
def test_a_mistyped_address_is_no_name(scene: Scene, tmp_path: Path, text: str) -> None:
    """Law: no name ends in a number, so "nobody asked for it" would prove nothing."""
    scene.connect(scene.process(None, "/bin/evil", [], 1), "10.0.0.25", 443, 2)
    with pytest.raises(UsageError, match="no name ends in a number"):
        _answer(scene, tmp_path / "h", "connected", text)


@pytest.mark.parametrize("text", ["bad.example", "BAD.Example.", "*.example", "*.EXAMPLE."])
def test_a_name_in_every_spelling(scene: Scene, tmp_path: Path, text: str) -> None:
    """Law: case and the last dot are none of a name's."""
    scene.ask(scene.process(None, "/bin/evil", [], 1), "bad.example", ["203.0.113.9"], 2)
    assert _answer(scene, tmp_path / "h", "connected", text).found.total >= 1


# ---- what rows do not show ----


def test_names_that_did_not_fit(scene: Scene, tmp_path: Path) -> None:
    """Law: a connection of whose peer more names are known than its row holds may be to any of them."""
    scene.connect(
        scene.process(None, "/bin/evil", [], 1), "203.0.113.9", 443, 2, names=[f"cdn-{i}.example" for i in range(8)]
    )
    for row in scene.rows["connection"]:
        row["names_cut"] = True
    found = _answer(scene, tmp_path / "h", "connected", "bad.example")
    assert found.completeness.reasons == [
        "2 connections have more names than fit into their rows: bad.example may be among them"
    ]
    assert _answer(scene, tmp_path / "h", "connected", "203.0.113.8").completeness.complete


@pytest.mark.parametrize(
    ("table", "values", "why"),
    [
        (
            "name",
            {"event": "question", "name": None, "marks": "MALFORMED"},
            "1 DNS messages have a name that could not be read",
        ),
        (
            "request",
            {"event": "tls", "marks": "TRUNCATED"},
            "1 heads of TLS or HTTP were not read as far as their name",
        ),
    ],
)
def test_names_that_were_not_read(scene: Scene, tmp_path: Path, table: str, values: dict[str, Any], why: str) -> None:
    """Law: what could not be read may have been the name."""
    process = scene.process(None, "/bin/evil", [], 1)
    scene.add(table, 2, **process.row, **values)
    found = _answer(scene, tmp_path / "h", "connected", "bad.example")
    assert found.completeness.reasons == [f"{why}: bad.example may be among them"]


def test_beats_that_folded(scene: Scene, tmp_path: Path) -> None:
    """Law: equal short connections in one row have no times: that they do not beat is not proven."""
    process = scene.process(None, "/bin/evil", [], 1)
    scene.connect(process, "203.0.113.77", 443, 100)
    row = scene.rows["connection"].pop()
    scene.rows["connection"].clear()
    row |= {"event": "folded", "folded_count": 40, "folded_until": scene.at(140), "flag_names": None, "outcome": None}
    scene.rows["connection"].append(row)
    for observed in scene.rows["observer"]:
        observed["settings"] = '{"folding": {"most_ms": 1000, "every_seconds": 20, "connections": true}}'
    assert (
        "40 connections are folded: their times are not recorded (setting folding)"
        in _answer(scene, tmp_path / "h", "beacons").completeness.reasons
    )


def test_a_range_meets_folded_connections_of_before_the_window(scene: Scene, tmp_path: Path) -> None:
    """Law: one that began before the window and reaches into it, by a range as by its address."""
    process = scene.process(None, "/bin/evil", [], 1)
    scene.connect(process, "203.0.113.77", 443, 100)
    row = scene.rows["connection"].pop()
    scene.rows["connection"].clear()
    row |= {
        "event": "folded",
        "folded_count": 40,
        "time": scene.at(100),
        "folded_until": scene.at(140),
        "flag_names": None,
    }
    scene.rows["connection"].append(row)
    for observed in scene.rows["observer"]:
        observed["settings"] = '{"folding": {"most_ms": 1000, "every_seconds": 30, "connections": true}}'
    for text in ("203.0.113.77", "203.0.113.0/24"):
        assert _answer(scene, tmp_path / "h", "connected", text, since=120, until=500).found.total == 1


# ---- whom ----


def test_names_that_nothing_has_together(scene: Scene, tmp_path: Path) -> None:
    """Law: each is known, and both are nobody's: a "no" of them would prove nothing."""
    web, job = scene.pod("web", "10.1.0.5", 1, namespace="shop"), scene.pod("job", "10.1.0.6", 1, namespace="batch")
    for pod, label in ((web, "app=web"), (job, "tier=b")):
        scene.process(pod, "/bin/x", [], 2)
        for table in ("pod", "container"):
            for row in scene.rows[table]:
                if row.get("pod") == pod.name:
                    row["labels"] = [label]
    with pytest.raises(UsageError, match="is of all that --namespace and --pod say"):
        _answer(scene, tmp_path / "h", "processes", namespace="batch", pod="web")
    with pytest.raises(UsageError, match="ever had these labels together"):
        _answer(scene, tmp_path / "h", "processes", selector="app=web,tier=b")
    assert _answer(scene, tmp_path / "h", "processes", namespace="shop", pod="web").found.total == 1


@pytest.mark.parametrize(
    ("condition", "meant"),
    [
        ("pod=wbe", "no pod named wbe is in this history; did you mean web?"),
        ("pod_uid=1", "no pod named 1 is in this history"),
        ("namespace=shp", "no namespace named shp is in this history; did you mean shop?"),
        ("container=abc", "no container named abc is in this history"),
        ("container_name=ap", "no container named ap is in this history; did you mean app?"),
        ("node=nod-1", "no node named nod-1 is in this history; did you mean node-1?"),
        ("image=x/wbe:1", "no image named x/wbe:1 is in this history"),
        ("workload=shop/Pod/wbe", "no workload named shop/Pod/wbe is in this history"),
    ],
)
def test_a_condition_on_a_name_that_nothing_ever_had(scene: Scene, tmp_path: Path, condition: str, meant: str) -> None:
    """Law: as the filters: it is refused, with what was perhaps meant; of a pod that ran nothing it is a no."""
    for name in ("web", "idle"):
        pod = scene.pod(name, None, 1, workload=f"shop/Pod/{name}")
        scene.rows["container"][-1]["image"] = f"x/{name}:1"
        if name == "web":
            scene.process(pod, "/bin/x", [], 2)
    with pytest.raises(UsageError) as refused:
        _answer(scene, tmp_path / "h", "processes", condition)
    assert meant in str(refused.value)
    assert _answer(scene, tmp_path / "h", "processes", "pod=idle").sentence.startswith("No: 0 of 1 ")
    assert _answer(scene, tmp_path / "h", "processes", condition.replace("=", "!=")).found.total <= 1


def test_labels_that_were_taken_off(scene: Scene, tmp_path: Path) -> None:
    """Law: what ever had the labels is chosen: who takes its label off is not gone."""
    pod = scene.pod("web", "10.1.0.5", 1)
    scene.process(pod, "/bin/evil", [], 2, capabilities=ALL)
    for table in ("pod", "container"):
        row = scene.rows[table][-1]
        row["labels"] = ["app=web"]
        scene.rows[table].append(row | {"time": scene.at(100), "labels": ["app=other"]})
    for selector in ("app=web", "app=other", "app!=web"):
        assert _answer(scene, tmp_path / "h", "processes", selector=selector).found.total == 1


_MANY = [f"label-{number:03}=x" for number in range(128)]


@pytest.mark.parametrize(
    ("labels", "selector", "decides"),
    [
        (["app=" + "x" * 1020], "app=web", True),
        (["app=" + "x" * 1020], "app!=web", True),
        (["app=other", "note=" + "x" * 1019], "app=web", False),
        (["app=other", "note=" + "x" * 1019], "app=web,note", False),
        (["app=web", "note=" + "x" * 1019], "app=web,note=y", True),
        (["note=" + "x" * 1019], "app=web", False),
        (_MANY, "tier=web", True),
        (_MANY, "!tier", True),
        (_MANY, "app=web", False),
        (_MANY, "tier=web,label-000=y", False),
    ],
)
def test_labels_that_were_cut(scene: Scene, tmp_path: Path, labels: list[str], selector: str, decides: bool) -> None:
    """Law: a pod of whose labels a part was cut may be chosen where that part decides, and only there."""
    for name, own in (("web", ["app=web", "tier=web", "note=y", "label-000=y"]), ("other", labels)):
        scene.process(scene.pod(name, None, 1), "/bin/x", [], 2)
        scene.rows["pod"][-1]["labels"] = own
    scene.rows["pod"][-1]["cut"] = "labels"
    scene.process(scene.pod("third", None, 1), "/bin/x", [], 2)
    scene.rows["pod"][-1]["labels"] = ["label-000=z"]
    reason = "1 pod's or container's labels were cut at a bound: what was cut decides whether they are chosen"
    found = _answer(scene, tmp_path / "h", "processes", selector=selector)
    assert (reason in found.completeness.reasons) == decides, found.completeness.reasons


def test_a_window_between_two_observers(scene: Scene, tmp_path: Path) -> None:
    """Law: whatever is asked of a time in which nobody observed is not answered by no."""
    other = Scene()
    other.observed(-1, 100)
    other.observed(200, 300)
    other.process(None, "/bin/x", [], 50)
    other.write(tmp_path)
    window = ("--since", "2026-03-01T12:01:50Z", "--until", "2026-03-01T12:03:00Z")
    for words in (("processes", "exe=/bin/x"), ("connected", "bad.example"), ("listening",), ("privileged",)):
        found = ask(tmp_path, *words, *window)
        assert found["answer"].startswith("Not recorded") and not found["completeness"]["complete"], words
