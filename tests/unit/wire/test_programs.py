"""The table of programs: forms as a user writes them."""

from __future__ import annotations

import pytest
import re2

from firsthand.errors import RedactionError
from firsthand.wire.programs import MOST_BYTES, compile_programs, packaged, table
from firsthand.wire.redact import MARK, Redactor, compile_redactor
from tests.unit.wire.test_redact import redact


def _with(forms: dict[str, list[str]]) -> Redactor:
    return compile_redactor(programs=compile_programs(forms))


@pytest.mark.parametrize(
    ("form", "row", "place"),
    [
        ("-p SECRET", "tool -x -p gold", 3),
        ("-p SECRET", "tool -p=gold", None),
        ("--pin SECRET", "tool --pin=gold", None),
        ("-pSECRET", "tool -pgold", None),
        ("-*u *:SECRET", "tool -xvu bob:gold", None),
        ("add * SECRET", "tool --loud add -f bob gold", 5),
        ("* SECRET", "tool bob gold", 2),
        ("set ... *=SECRET", "tool set a b c=gold", None),
        ("login ... -k SECRET", "tool login -u bob -k gold", 5),
        ("?*/SECRET", "tool bob/gold", None),
    ],
)
def test_a_form_masks_where_its_secret_stands(form: str, row: str, place: int | None) -> None:
    """Each part of the language: values of options, groups, words behind a word, by number, among any others."""
    words = row.split()
    assert redact(words) == [word.encode() for word in words], "only the table knows this program"
    found = redact(words, _with({"tool": [form]}))
    assert b"gold" not in b" ".join(found) and sum(MARK in word for word in found) == 1
    assert place is None or found[place] == MARK


def test_several_secrets_of_one_form_all_go() -> None:
    """A form may hold several, and one with ... applies again and again."""
    redactor = _with({"tool": ["change SECRET SECRET", "set ... *=SECRET"]})
    assert redact(["tool", "change", "old1", "new2"], redactor) == [b"tool", b"change", MARK, MARK]
    found = redact(["tool", "set", *(f"k{n}=gold" for n in range(12))], redactor)
    assert b"gold" not in b" ".join(found)


def test_what_is_piped_in_is_a_form_too() -> None:
    """Echo's words, a here-string and a here-document stand behind <<<."""
    redactor = _with({"tool": ["unlock ... <<< SECRET"]})
    for text in ("echo gold | tool unlock x", "tool unlock x <<< gold", "tool unlock x <<E\ngold\nE"):
        assert b"gold" not in redact(["sh", "-c", text], redactor)[2]


def test_a_user_adds_to_the_table_and_takes_out_of_it() -> None:
    """Forms of a known program add; an empty list takes the packaged ones out, of that name only."""
    added = _with({"sshpass": ["-Q SECRET"]})
    assert redact(["sshpass", "-Q", "gold", "-p", "silver"], added)[2::2] == [MARK, MARK]
    without = _with({"sshpass": []})
    assert redact(["sshpass", "-p", "gold"], without) == [b"sshpass", b"-p", b"gold"]
    assert redact(["twine", "upload", "-p", "gold"], without)[3] == MARK


def test_the_row_names_the_program() -> None:
    """`redaction` says by which program's form a row was changed."""
    from tests.unit.wire.test_redact import lists

    done = _with({"tool": ["-p SECRET"]}).apply(lists([[b"tool", b"-p", b"gold"]]))
    assert done.patterns.row(0) == b"program:tool"


@pytest.mark.parametrize(
    ("forms", "reason"),
    [
        ({"tool": ["-p"]}, "write SECRET"),
        ({"tool": ["SECRETSECRET"]}, "once in a word"),
        ({"tool": ["-p SECRET " + "x" * 128]}, "at most 128 characters"),
        ({"tool": ["a " * 12 + "SECRET"]}, "12 words"),
        ({"tool": ["SECRET ..."]}, "leave it out"),
        ({"tool": ["-p SECRET\x00"]}, "plain text"),
        ({"tool": ["-p SECRET\u00e9"]}, "plain text"),
        ({"/bin/tool": ["-p SECRET"]}, "without folders"),
        ({"Tool": ["-p SECRET"]}, "lower case"),
        ({" ": ["-p SECRET"]}, "a program's name"),
        ({"tool": "-p SECRET"}, "a list of forms"),
        ({"tool": [1]}, "a list of forms"),
        ({"tool": ["-p SECRET"] * 17}, "at most 16"),
        ({f"t{n}": ["-p SECRET"] for n in range(129)}, "at most 128"),
        ({f"t{n}": [f"{m} ? * ? * ? * ? SECRET" for m in range(4)] for n in range(99)}, str(MOST_BYTES)),
    ],
)
def test_what_is_no_form_is_refused_with_what_to_write(forms: dict[str, list[str]], reason: str) -> None:
    """Bounds and mistakes: the message names the setting and says what to do."""
    with pytest.raises(RedactionError, match=reason) as error:
        compile_programs(forms)
    assert str(error.value).startswith("redaction.programs: ")


def test_whatever_a_form_holds_it_compiles() -> None:
    """Characters that mean something to RE2 mean themselves."""
    for form in (r"-p\SECRET", "(+[SECRET", "$^|SECRET", "{SECRET}*?", "a.b SECRET", "--x-*-y SECRET", ">SECRET"):
        (program,) = compile_programs({"tool": [form]})
        assert all(re2.compile(one.encode()) for _, one in program.expressions)


def test_the_packaged_table_is_sound() -> None:
    """Its forms pass the checks of a user's, and every program has one."""
    for program in packaged():
        assert program.names and program.expressions
    assert len({name for program in table() for name in program.names}) >= 500
