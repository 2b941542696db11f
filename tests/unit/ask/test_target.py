"""ask/target.py: what `ask connected` takes for a name, a domain, an address or a range."""

from __future__ import annotations

import duckdb
import pytest

from firsthand.ask.target import Target, parse
from firsthand.errors import UsageError


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
    assert {row[0] for row in duckdb.execute(query, [rows, *values]).fetchall()} == found
    assert Target("x").named("n") == ("false", [])
