"""ask/target.py: a name is found in each spelling that a row can have (law 11)."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.name
import pytest

from firsthand.ask import target
from firsthand.ask.answering import Request, answer
from firsthand.dissect import dns as dissector
from firsthand.dissect import http
from firsthand.history.store.connection import History
from tests.scenes import Scene

DAY = 86_400.0


@pytest.mark.parametrize("kept", [True, False], ids=["segments", "log"])
@pytest.mark.parametrize("below", ["", "*."])
@pytest.mark.parametrize(
    ("asked", "stands"),
    [
        ("straße.example", "xn--strae-oqa.example"),
        ("straße.example", "strasse.example"),
        ("straße.example", "straße.example"),
        ("xn--strae-oqa.example", "straße.example"),
        ("xn--mnchen-3ya.example", "m\\xc3\\xbcnchen.example"),
        ("MÜNCHEN.example.", "xn--mnchen-3ya.example"),
        ("münchen.example", "m\\195\\188nchen.example"),
    ],
)
def test_letters_beyond_ascii(tmp_path: Path, asked: str, stands: str, below: str, kept: bool) -> None:
    """Law: programs spell them in several ways; a name is found by each, in lookups, names of connections and heads."""
    whole = f"www.{stands}" if below else stands
    for number, table in enumerate(("name", "connection", "request")):
        scene = Scene()
        scene.observed(-1, DAY)
        process = scene.process(None, "/bin/x", [], 1)
        if table == "name":
            scene.ask(process, whole, ["203.0.113.9"], 2)
        cookie = scene.connect(process, "203.0.113.7", 443, 3, names=[whole] if table == "connection" else None)
        if table == "request":
            scene.request(process, cookie, "203.0.113.7", 443, 3.1, sni=whole, protocol="tls")
        history = scene.write(tmp_path / str(number), kept=kept)
        assert answer(History(history), Request("connected", (below + asked,)), scene.at(DAY)).found.total >= 1, table


@pytest.mark.parametrize("name", ["münchen.example", "straße.example"])
def test_spellings_are_those_of_the_dissectors(name: str) -> None:
    """Law: what is sent as it is stands in rows as the dissectors write it."""
    question = dns.message.make_query("x.", "A")
    question.question[0].name = dns.name.Name([*(label.encode() for label in name.split(".")), b""])
    read = dissector.read(question.to_wire())
    head = http.read(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    assert head is not None and {read.name, head.host} <= set(target.spellings(name))
    assert name.encode().decode("ascii", "backslashreplace") in target.spellings(name), "dissect/hello.py"


@pytest.mark.parametrize("name", ["example.com", "xn--.example", "xn--zzzz.example"])
def test_other_names_have_one_spelling(name: str) -> None:
    """Law: what is no letter beyond ASCII is looked for as it is."""
    assert target.spellings(name) == (name,)


@pytest.mark.parametrize("kept", [True, False], ids=["segments", "log"])
@pytest.mark.parametrize("wanted", ["bad.example", "*.example"])
def test_an_alias_as_its_sender_spells_it(tmp_path: Path, wanted: str, kept: bool) -> None:
    """Law: the name that an answer leads to has capitals and a last dot, and need not have a record of its own."""
    scene = Scene()
    scene.observed(-1, DAY)
    scene.ask(scene.process(None, "/bin/x", [], 1), "www.good.test", [], 2, alias="BAD.Example", rcode="NXDOMAIN")
    history = scene.write(tmp_path / "h", kept=kept)
    found = answer(History(history), Request("connected", (wanted,)), scene.at(DAY))
    assert [row["why"] for row in found.found.rows] == [["alias"]]
