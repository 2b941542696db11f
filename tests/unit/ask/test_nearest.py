"""ask/nearest.py: which names a mistyped one may have meant."""

from __future__ import annotations

from firsthand.ask.nearest import meant, nearest

_KNOWN = ("kube-system", "default", "monitoring", "kube-public", "my-kube")


def test_beginnings_come_before_parts_and_those_before_what_is_spelled_alike() -> None:
    """Each name once, at most three."""
    assert nearest("kube", _KNOWN) == ["kube-public", "kube-system", "my-kube"]
    assert nearest("KUBE-S", _KNOWN)[0] == "kube-system"
    assert nearest("defualt", _KNOWN) == ["default"]
    assert nearest("kube", _KNOWN, most=1) == ["kube-public"]


def test_nothing_is_guessed_where_nothing_is_near() -> None:
    """Nor for no text at all, which every name begins with."""
    assert nearest("zzzz", _KNOWN) == nearest("", _KNOWN) == nearest("kube", ()) == []
    assert meant("zzzz", _KNOWN) == ""
    assert meant("monitor", iter(_KNOWN)) == "; did you mean monitoring?"
    assert meant("kube-", ("kube-b", "kube-a", "kube-a")) == "; did you mean kube-a or kube-b?"
