"""ask/target.py: what `ask connected` takes for a name, a domain, an address or a range; a name in each spelling that a row can have."""

from __future__ import annotations

from pathlib import Path

import dns.message
import dns.name
import duckdb
import pytest

from firsthand.ask import target
from firsthand.ask.answering import Request, answer
from firsthand.ask.target import Target, parse
from firsthand.dissect import dns as dissector
from firsthand.dissect import http
from firsthand.errors import UsageError
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


@pytest.mark.parametrize(
    ("text", "name", "below"),
    [
        ("Example.COM", "example.com", False),
        ("example.com.", "example.com", False),
        ("*.Example.com", "example.com", True),
        ("localhost", "localhost", False),
        ("bücher.example", "xn--bcher-kva.example", False),
        ("4chan.org", "4chan.org", False),
        ("_ldap._tcp.example", "_ldap._tcp.example", False),
    ],
)
def test_names_as_dns_has_them(text: str, name: str, below: bool) -> None:
    """In lower case, without the root's dot, in punycode."""
    found = parse(text)
    assert (found.name, found.below, found.addresses, found.network) == (name, below, [], None)


@pytest.mark.parametrize(
    ("text", "address"),
    [("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1"), ("::ffff:192.0.2.1", "192.0.2.1")],
)
def test_addresses_in_the_form_of_rows(text: str, address: str) -> None:
    """IPv4 in IPv6 is the IPv4 one."""
    found = parse(text)
    assert found.addresses == [address] and found.name is None


def test_a_range_is_one() -> None:
    """By its prefix."""
    assert str(parse("10.0.0.0/8").network) == "10.0.0.0/8"
    with pytest.raises(UsageError):
        parse("10.0.0.0/99")


@pytest.mark.parametrize("text", ["192.0.2", "192.0.2.256", "10.1", "0x7f", "example.0x1f", "1"])
def test_a_mistyped_address_is_not_taken_for_a_name(text: str) -> None:
    """No name's last label is a number: a "No" about it would deny what nobody asked."""
    with pytest.raises(UsageError, match="no name ends in a number"):
        parse(text)


@pytest.mark.parametrize("text", ["", "*", "*.", ".", "a..b", "a b", "*.*.x", "a*b", "[2001:db8::1]:80", "http://a"])
def test_what_is_neither(text: str) -> None:
    """It is refused with what can be given."""
    with pytest.raises(UsageError):
        parse(text)


def test_a_label_that_no_dns_message_holds() -> None:
    """64 letters that are no ASCII."""
    with pytest.raises(UsageError, match="DNS could hold"):
        parse("ü" * 64 + ".example")


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("example.com", {"example.com"}),
        ("*.example.com", {"www.example.com", "a.b.example.com"}),
        ("192.0.2.1", set()),
    ],
)
def test_as_a_condition(target: str, found: set[str]) -> None:
    """Below a name is not the name itself, nor one that only ends alike; what has no name meets none."""
    rows = ["example.com", "www.example.com", "a.b.example.com", "badexample.com", "example.com.org"]
    text, values = parse(target).named("n")
    query = f"SELECT n FROM (SELECT unnest(?) AS n) WHERE {text}"
    assert {row[0] for row in duckdb.connect().execute(query, [rows, *values]).fetchall()} == found
    assert Target("x").named("n") == ("false", [])
