"""export/file.py and rotation.py: what a crash leaves is taken back, and nobody's lines are touched."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from firsthand.errors import ExportError
from firsthand.export.file import Appended
from firsthand.export.output import State
from firsthand.export.rotation import Rotation


def nothing() -> None:
    """A save that need not be."""


def opened(
    path: Path, state: State, rotation: Rotation | None = None, clock: Callable[[], float] = lambda: 0.0
) -> Appended:
    output = Appended(path, rotation or Rotation(), clock)
    output.open(state)
    return output


def test_what_no_cursor_knows_of_is_cut_off(tmp_path: Path) -> None:
    """Law: lines behind the saved length, also half ones, are taken back at the next start."""
    path, state = tmp_path / "out", {}
    output = opened(path, state)
    output.put([b"one\n", b"two\n"], state)
    saved = dict(state)
    output.put([b"three\n", b"fo"], state)
    output.close()
    opened(path, saved).close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_what_stood_there_before_stays(tmp_path: Path) -> None:
    """Law: a fresh cursor appends to what is there, and keeps it at a restart."""
    path, state = tmp_path / "out", {}
    path.write_bytes(b"theirs\n")
    output = opened(path, state)
    output.put([b"ours\n"], state)
    output.close()
    opened(path, state).close()
    assert path.read_bytes() == b"theirs\nours\n"


@pytest.mark.parametrize("how", ["shorter", "another"])
def test_a_file_that_is_not_ours_any_more(tmp_path: Path, how: str) -> None:
    """Law: a file that was cut or replaced is refused, and not touched."""
    path, state = tmp_path / "out", {}
    output = opened(path, state)
    output.put([b"one\n"], state)
    output.close()
    if how == "another":
        path.rename(tmp_path / "kept")  # so that its inode is not used again
    path.write_bytes(b"x\n" if how == "shorter" else b"longer than before\n")
    before = path.read_bytes()
    with pytest.raises(ExportError, match="another program wrote here"):
        opened(path, state)
    assert path.read_bytes() == before


def test_a_file_that_was_taken_away(tmp_path: Path) -> None:
    """Law: where somebody moved the file away, a new one begins."""
    path, state = tmp_path / "out", {}
    output = opened(path, state)
    output.put([b"one\n"], state)
    output.close()
    path.rename(tmp_path / "theirs")
    output = opened(path, state)
    output.put([b"two\n"], state)
    output.close()
    assert path.read_bytes() == b"two\n"


@pytest.mark.parametrize(
    ("rotation", "due"), [(Rotation(bytes=4), True), (Rotation(bytes=5), False), (Rotation(age=9), True)]
)
def test_rotation_by_size_and_age(tmp_path: Path, rotation: Rotation, due: bool) -> None:
    """Law: a file is put aside at its size or age, under the next number, and the new one is empty."""
    path, state, now = tmp_path / "out", {}, [0.0]
    output = opened(path, state, rotation, lambda: now[0])
    output.put([b"one\n"], state)
    now[0] = 10.0
    output.settle(state, nothing)
    assert path.read_bytes() == (b"" if due else b"one\n")
    assert (tmp_path / "out.000001").exists() == due
    output.close()


def test_an_empty_file_is_not_put_aside(tmp_path: Path) -> None:
    """Law: age alone puts no empty file aside."""
    path, state = tmp_path / "out", {}
    output = opened(path, state, Rotation(age=0.0))
    output.settle(state, nothing)
    assert sorted(os.listdir(tmp_path)) == ["out"]
    output.close()


@pytest.mark.parametrize("codec", [None, "gzip", "zstd"])
def test_old_files_are_packed_and_the_oldest_go(tmp_path: Path, codec: str | None) -> None:
    """Law: `keep` old files stay, packed where that is asked for, with every byte."""
    path, state = tmp_path / "out", {}
    output = opened(path, state, Rotation(bytes=1, keep=2, codec=codec))
    for number in range(5):
        output.put([b"%d\n" % number], state)
        output.settle(state, nothing)
    output.close()
    suffix = {None: "", "gzip": ".gz", "zstd": ".zst"}[codec]
    assert sorted(os.listdir(tmp_path)) == ["out", f"out.000004{suffix}", f"out.000005{suffix}"]
    if codec == "gzip":
        assert gzip.decompress((tmp_path / "out.000005.gz").read_bytes()) == b"4\n"


def test_killed_between_a_rotation_and_its_commit(tmp_path: Path) -> None:
    """Law: a rotation whose commit never came is taken as done, whether the next file was begun or not."""
    for begun in (False, True):
        folder = tmp_path / str(begun)
        folder.mkdir()
        path, state = folder / "out", {}
        output = opened(path, state)
        output.put([b"one\n"], state)
        output.close()
        path.rename(folder / "out.000001")
        if begun:
            path.touch()
        output = opened(path, state, Rotation(bytes=1))
        output.put([b"two\n"], state)
        output.settle(state, nothing)
        output.close()
        assert (folder / "out.000001").read_bytes() == b"one\n"
        assert (folder / "out.000002").read_bytes() == b"two\n"


def test_a_rotation_put_right_is_packed_at_the_first_look(tmp_path: Path) -> None:
    """Law: once its commit stands, what a killed run had put aside is packed, though nothing more is to be rotated."""
    path, state = tmp_path / "out", {}
    output = opened(path, state)
    output.put([b"one\n"], state)
    output.close()
    path.rename(tmp_path / "out.000001")
    output = opened(path, state, Rotation(codec="gzip"))
    saved: list[list[str]] = []
    output.settle(state, lambda: saved.append(sorted(os.listdir(tmp_path))))
    output.close()
    assert saved == [["out", "out.000001"]], "committed first"
    assert gzip.decompress((tmp_path / "out.000001.gz").read_bytes()) == b"one\n"
    assert sorted(os.listdir(tmp_path)) == ["out", "out.000001.gz"]


def test_killed_while_packing(tmp_path: Path) -> None:
    """Law: what was put aside and not packed yet is packed at the next start."""
    path, state = tmp_path / "out", {}
    opened(path, state).close()
    (tmp_path / "out.000001").write_bytes(b"one\n")
    (tmp_path / ".out.000001.new").write_bytes(b"half")
    opened(path, state, Rotation(codec="gzip")).close()
    assert gzip.decompress((tmp_path / "out.000001.gz").read_bytes()) == b"one\n"
    assert sorted(os.listdir(tmp_path)) == ["out", "out.000001.gz"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Law: a file that cannot be opened or written to is an error that says what to do."""
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match="choose another --to"):
        opened(tmp_path / "out", {})
    output = Appended(Path("/dev/full"), Rotation())
    state = {"length": 0}
    output._file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(ExportError, match="No space left"):
        output.put([b"x\n"], state)
    output.close()
