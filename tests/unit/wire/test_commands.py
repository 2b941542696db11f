"""Commands inside a row of arguments, and the places of their bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.wire.commands import DEPTH, commands


def _words(*row: str) -> list[list[bytes]]:
    return [[word.text for word in command.words] for command in commands("\0".join(row).encode()) if command.words]


def test_a_shell_text_has_commands_of_its_own() -> None:
    """Pipes, lists, groups, substitutions and lines part commands; redirections are no words."""
    found = _words("sh", "-c", "a b | c; (d 2>&1 >x && e) || f $(g h) `i` > y\rj")
    assert found[1:] == [[b"a", b"b"], [b"c"], [b"d"], [b"e"], [b"f", b"$"], [b"g", b"h"], [b"i"], [b"j"]]


def test_quotes_and_backslashes_are_taken_off() -> None:
    """As POSIX 2.2: nothing quotes in single quotes, backslash quotes some in double ones and all outside."""
    assert _words("sh", "-c", r"""x 'a b'"c d"e 'x\y' "q\"r\z" s\ t""")[1] == [
        b"x", b"a bc de", rb"x\y", rb'q"r\z', b"s t",
    ]  # fmt: skip


def test_what_is_piped_in_is_known_where_it_is_written_there() -> None:
    """echo and printf, groups of them, here-strings and here-documents; of another program's output nothing is known."""

    def piped(text: str) -> bytes | None:
        return next((c.piped.text for c in commands(b"sh\0-c\0" + text.encode()) if c.piped), None)

    assert piped("echo -n a 'b c' | t") == b"a b c" and piped(r"printf '%s' x | t") == b"x"
    assert piped("(echo a; echo b) | t") == b"a b" and piped("{ echo a; echo b; } | t") == b"a b"
    assert piped("t <<< 'a b'") == b"a b" and piped("t <<'E'\ra\rb\rE\ru") == b"a\rb"
    assert piped("cat x | t y") is None and piped("echo a; b | t y") is None


def test_commands_within_commands_are_read_to_a_depth() -> None:
    """ssh, sudo and bash -c within one another, three deep."""
    assert DEPTH == 3
    found = _words("ssh", "h", """sudo bash -c "su -c 'a b' x" """)
    assert [b"a", b"b"] in found


ROW = st.lists(st.text(alphabet=" ab'\"\\|;&<>()`$#\r=-", max_size=30), max_size=4)


@settings(deadline=None, max_examples=500)
@given(ROW)
def test_each_byte_of_a_word_stands_where_its_place_says(row: list[str]) -> None:
    """Whatever quotes are open: a word's bytes are the row's bytes at their places, in order, except a blank between echo's words."""
    raw = "\0".join(row).encode()
    for command in commands(raw):
        for word in command.words:
            assert len(word.text) == len(word.places)
            assert all(raw[place] == byte for place, byte in zip(word.places, word.text, strict=True))
            assert list(word.places) == sorted(word.places)
        if command.piped:
            assert len(command.piped.text) == len(command.piped.places)
