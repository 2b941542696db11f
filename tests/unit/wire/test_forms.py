"""Command lines as people write them: no secret stays, and ordinary ones are left alone."""

from __future__ import annotations

import pytest

from firsthand.wire.patterns import Pattern
from firsthand.wire.redact import _hint, compile_redactor
from tests.unit.wire import forms
from tests.unit.wire.secrets import S
from tests.unit.wire.test_redact import REDACTOR, _every_row, lists, redact, rows_of

ARGUMENTS, SHELL, NEAR = forms.argument_forms(), forms.shell_forms(), list(forms.entries("near_misses.txt"))


def test_there_are_400_forms_and_as_many_near_misses() -> None:
    """The promise is counted: distinct command lines, a secret in each form, none in a near miss."""
    assert len(set(ARGUMENTS)) + len(set(SHELL)) >= 400 and len(set(NEAR)) >= 400
    assert all("§" in form for form in ARGUMENTS + SHELL) and not any("§" in line for line in NEAR)


@pytest.mark.parametrize("form", ARGUMENTS)
def test_no_argument_keeps_its_secret(form: str) -> None:
    """As arguments and inside a shell's text, the secret goes wholly and the row has as many arguments as before."""
    for row in forms.rows(form):
        found = redact(row)
        assert not any(S.encode() in argument for argument in found), found
        assert len(found) == len(row)


@pytest.mark.parametrize("form", SHELL)
def test_no_shell_text_keeps_its_secret(form: str) -> None:
    """Pipes, here-strings, here-documents, quotes within quotes, commands within commands."""
    found = redact(forms.rows(form)[1])
    assert not any(S.encode() in argument for argument in found), found


@pytest.mark.parametrize("line", NEAR)
def test_near_misses_keep_every_byte(line: str) -> None:
    """The same programs and words, without a secret, as arguments and as a shell's text."""
    for row in forms.rows(line):
        assert redact(row) == [argument.encode() for argument in row]


def test_the_tail_of_a_word_goes_with_its_secret() -> None:
    """Quotes end inside a word; the secret ends with the word."""
    for text in ("mysql -p'ab1'cd9 x", 'mysql -p"ab1"cd9 x', "mysql -pab1'cd9' x", r"mysql -pab1\ cd9 x"):
        (_, _, found) = redact(["sh", "-c", text])
        assert b"ab1" not in found and b"cd9" not in found and found.endswith(b" x"), found


def test_a_value_that_the_shell_puts_in_later_stays() -> None:
    """A variable or a command in a secret's place is no secret; as an argument it is what was passed."""
    for value in ("$PASS", '"$PASS"', "${PASS}", '"$(cat /x)"'):
        text = f"sshpass -p {value} ssh h"
        assert redact(["sh", "-c", text]) == [b"sh", b"-c", text.encode()]
    assert redact(["sshpass", "-p", "$ecr3t"])[2] == b"[redacted]"


def test_of_ordinary_lines_hardly_any_is_masked() -> None:
    """At most one in a hundred lines of Debian's own scripts (ordinary_lines.txt names the packages) changes."""
    lines = list(forms.lines("ordinary_lines.txt"))
    done = REDACTOR.apply(lists([[b"sh", b"-c", line.encode()] for line in lines]))
    assert len(lines) >= 500 and int(done.redacted.sum()) * 100 <= len(lines)


def test_the_first_scan_leaves_no_form_out() -> None:
    """The hints of patterns and programs match wherever these do: without them nothing more is found."""
    every = compile_redactor()
    every._hint = _hint([Pattern("any", r"[\x00-\xff]")])
    every._programs.rows = _every_row  # type: ignore[method-assign]
    rows = [[one.encode() for one in row] for form in [*ARGUMENTS, *SHELL, *NEAR] for row in forms.rows(form)]
    assert rows_of(REDACTOR.apply(lists(rows)).args) == rows_of(every.apply(lists(rows)).args)
