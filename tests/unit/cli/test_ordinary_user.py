"""Messages and no tracebacks: for a user to whom the history is closed, in a poor locale, and where there is nothing to follow yet."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.cli import main
from tests import require
from tests.scenes import Scene
from tests.users import as_user

OTHER = 4_299_002


@pytest.fixture(scope="module")
def history() -> Iterator[Path]:
    """A history of root's, closed to all others; a program in it has arguments of every kind of letter."""
    folder = Path(tempfile.mkdtemp(prefix="firsthand-closed-", dir="/var/tmp"))
    scene = Scene()
    scene.observed(-1, 60)
    scene.process(None, "/bin/sh", ["grün \u202e \x1b[2J", "=1+1"], 1.0)
    scene.write(folder / "h")
    folder.chmod(0o755)
    (folder / "h").chmod(0o750)
    yield folder / "h"
    shutil.rmtree(folder)


def _run(*words: str) -> tuple[int, str, str]:
    """The command in this process: its exit code and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["firsthand", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main.main()
        except SystemExit as ended:
            code = ended.code
    return int(code or 0), out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "processes"),
        ("sql", "SELECT 1 FROM process"),
        ("status",),
        ("usage",),
        ("verify",),
        ("hold", "list"),
        ("doctor",),
    ],
    ids=lambda words: words[0],
)
def test_a_closed_history_is_a_message(history: Path, words: tuple[str, ...]) -> None:
    """Law: who may not read the history is told so, by every verb, on one line and without a traceback."""
    require.root()
    found = as_user(OTHER, OTHER, lambda: _run(*words, "--history", str(history)))
    assert not isinstance(found, BaseException), repr(found)
    code, out, err = found
    assert "Traceback" not in out + err and (code == 1 or words[0] == "doctor"), (code, out, err)
    assert "may not" in out + err or "ermission" in out + err, (code, out, err)


def _command(*words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "firsthand", *words], capture_output=True, env=os.environ | more, check=False
    )


@pytest.mark.parametrize("form", ["csv", "table", "jsonl"])
def test_a_poor_locale(history: Path, form: str) -> None:
    """Law: LC_ALL=C and an ASCII output are no traceback; csv is UTF-8 there too."""
    done = _command(
        "ask", "processes", "-o", form, "--history", str(history), LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert form != "csv" or "grün" in done.stdout.decode()


def test_csv_is_safe_and_keeps_its_completeness(history: Path) -> None:
    """Law: no escape and no formula reaches a terminal or a spreadsheet; the answer is on standard error; --raw has values as they are."""
    safe = _command("ask", "processes", "-o", "csv", "--history", str(history))
    raw = _command("ask", "processes", "-o", "csv", "--raw", "--history", str(history))
    assert b"\x1b" not in safe.stdout and b"\\u202e" in safe.stdout and "\u202e".encode() in raw.stdout
    assert b"1 of 1 program images match; evidence complete" in safe.stderr


def test_tail_says_what_it_waits_for(tmp_path: Path) -> None:
    """Law: without a history `tail` says that it waits, for what, and where; Ctrl-C ends it without a traceback,"""
    command = [sys.executable, "-m", "firsthand", "tail", "--history", str(tmp_path / "none")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "no history is here yet; waiting for `firsthand run`" in line and "Traceback" not in rest
