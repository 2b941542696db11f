"""What a user chose, within its bounds and always text."""

from __future__ import annotations

from firsthand.identity.runtimes.facts import LONGEST_TEXT, mapping, mount, pairs, text


def test_bytes_that_are_no_text() -> None:
    """Escaped, never lost, never an error."""
    assert text(b"a\xffb") == "a\\xffb" and text("a\ud800b") == "a\\ud800b"
    assert text(b"") is None and text(3) is None and text(None) is None
    assert len(text("x" * 5000) or "") == LONGEST_TEXT


def test_labels() -> None:
    """From JSON's objects and from messages' pairs; a key that is empty is none."""
    assert mapping({"a": "b", "": "c", "d": "\ud800"}) == {"a": "b", "d": "\\ud800"}
    assert mapping(None) == {} and mapping(3) == {}


def test_pairs_are_bounded() -> None:
    """By number and by length; whether something was cut is told."""
    assert pairs({"b": "2", "a": "1"}) == (["a=1", "b=2"], False)
    assert pairs({"a": "x" * 2000})[1] and len(pairs({"a": "x" * 2000})[0][0]) == 1024
    assert pairs({str(n): "" for n in range(200)})[1]


def test_mounts_with_colons() -> None:
    """A colon within a path cannot be taken for one between the parts."""
    assert mount("/a:b", "/c\\d", True) == "/a\\:b:/c\\\\d:ro"
    assert mount(b"/a", b"/b", False, "shared") == "/a:/b:rw:shared"
