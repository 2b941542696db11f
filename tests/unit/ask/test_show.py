"""Nothing that a process chose can act on a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from firsthand.ask import show


@given(st.text())
def test_what_is_shown_is_printable(text: str) -> None:
    """No control, format, separator or unassigned character is left."""
    shown = show.printable(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown)


def test_ordinary_text_is_left_as_it_is() -> None:
    """Letters of any language and blanks stay."""
    assert show.printable("grün 文件 -x=1") == "grün 文件 -x=1"
    assert show.printable("\x1b[2J\n\u202e") == "\\x1b[2J\\n\\u202e"


def test_large_integers_become_text() -> None:
    """What JavaScript cannot hold exactly is a string."""
    assert show.plain({"a": 1 << 53, "b": (1 << 53) + 1, "c": b"\xff"}) == {
        "a": 1 << 53,
        "b": str((1 << 53) + 1),
        "c": "\\xff",
    }
