"""cli/verify.py: which of the published heads count."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from firsthand.cli.verify import command
from firsthand.errors import UsageError
from firsthand.history import place
from firsthand.history.store import chain
from tests import histories
from tests.samples import process_lives


def _recorded(directory: Path, heads: Path) -> Path:
    """A history whose head is published, as the supervisor has it; the file of its heads."""
    histories.write(directory, process_lives(5))
    own = chain.file_of(heads, place.identity(directory, make=True))
    histories.keep(directory, linger=0, heads=own)
    return own


def _verified(history: Path, heads: Path) -> str:
    done = CliRunner().invoke(command, ["--history", str(history), "--heads", str(heads)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_a_history_that_was_made_anew_is_no_other_one(tmp_path: Path) -> None:
    """Law: whoever writes a history anew gives it another id; its published heads then fail, and are not left out as another's."""
    history, heads = tmp_path / "history", tmp_path / "heads.jsonl"
    published = _recorded(history, heads)
    assert "proven" in _verified(history, published)
    shutil.rmtree(history)
    _recorded(history, tmp_path / "elsewhere.jsonl")
    with pytest.raises(UsageError, match=r"none of its .* is of this history .* made anew"):
        _verified(history, published)


def test_heads_of_others_in_a_shared_file_are_left_out(tmp_path: Path) -> None:
    """Law: a file that several histories shared proves each by its own lines."""
    files = [_recorded(tmp_path / name, tmp_path / "heads.jsonl") for name in ("a", "b")]
    shared = tmp_path / "shared.jsonl"
    shared.write_text("".join(path.read_text() for path in files))
    for name in ("a", "b"):
        assert "proven" in _verified(tmp_path / name, shared)
