"""Nothing that a process chose can act on a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from firsthand.ask import predicate, show


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


@given(st.binary())
def test_bytes_are_shown_reversibly(value: bytes) -> None:
    """Law: no two byte strings look alike: 0xff is not the four characters `\\xff`."""
    assert predicate._unescaped(show.plain(value)) == value


def test_a_program_keeps_its_own_word_for_itself() -> None:
    """Law: argv[0] is shown where it is another word than the binary's: busybox as sleep."""
    assert show.program("/bin/busybox", ["sleep", "600"]) == "/bin/busybox (sleep) 600"
    assert (
        show.program("/bin/sleep", ["sleep", "600"])
        == show.program("/bin/sleep", ["/bin/sleep", "600"])
        == "/bin/sleep 600"
    )
    assert show.program("/bin/bash", ["-bash"]) == "/bin/bash" and show.program(None, None) == "?"
