"""export/rotation.py: which files are put aside, packed and removed. test_file.py has the file of lines around it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from firsthand.export.rotation import Rotation


@pytest.mark.parametrize(
    ("rotation", "length", "age", "due"),
    [
        (Rotation(), 1 << 40, 1e9, False),
        (Rotation(bytes=100), 99, 1e9, False),
        (Rotation(bytes=100), 100, 0, True),
        (Rotation(age=60), 1 << 40, 59.9, False),
        (Rotation(age=60), 0, 60, True),
        (Rotation(bytes=100, age=60), 1, 61, True),
        (Rotation(bytes=0), 0, 0, True),
    ],
)
def test_when_a_file_is_full(rotation: Rotation, length: int, age: float, due: bool) -> None:
    """At either limit; a limit that is not given never."""
    assert rotation.due(length, age) is due


def _aside(path: Path, *names: str) -> None:
    for name in names:
        path.with_name(path.name + name).write_text(name)


def test_numbers_of_what_was_put_aside(tmp_path: Path) -> None:
    """Packed or not, each once, rising also past a million; files of others are none, though they begin alike."""
    path = tmp_path / "out+.json"
    _aside(path, ".000002", ".000002.zst", ".000010.gz", ".1000000", ".12", ".000003.bak", ".new", ".000004.zst.x")
    (tmp_path / "outt.json.000007").write_text("another's")
    assert Rotation().numbers(path) == [2, 10, 1000000]
    assert Rotation().path(path, 7).name == "out+.json.000007"


@pytest.mark.parametrize(("keep", "left"), [(None, [1, 2, 3]), (2, [2, 3]), (5, [1, 2, 3]), (0, [])])
def test_the_oldest_go(tmp_path: Path, keep: int | None, left: list[int]) -> None:
    """In whatever form they are; what is not beyond `keep` stays as it is."""
    path = tmp_path / "out"
    _aside(path, "", ".000001.zst", ".000001.gz", ".000002", ".000003")
    rotation = Rotation(keep=keep)
    rotation.tidy(path)
    assert rotation.numbers(path) == left and path.read_text() == ""


@pytest.mark.parametrize(("codec", "suffix"), [("zstd", ".zst"), ("gzip", ".gz")])
def test_what_is_packed_is_whole_and_as_readable_as_before(tmp_path: Path, codec: str, suffix: str) -> None:
    """Its rights are those of the plain file, which goes; nothing half made is left."""
    path = tmp_path / "out"
    plain = Rotation().path(path, 1)
    content = b"line\n" * 1000
    plain.write_bytes(content)
    plain.chmod(0o640)
    Rotation(codec=codec).tidy(path)
    packed = plain.with_name(plain.name + suffix)
    assert [one.name for one in tmp_path.iterdir()] == [packed.name] and packed.stat().st_mode & 0o777 == 0o640
    read = (
        gzip.decompress(packed.read_bytes())
        if codec == "gzip"
        else pa.input_stream(str(packed), compression="zstd").read()
    )
    assert read == content


def test_a_run_that_was_killed_while_it_packed(tmp_path: Path) -> None:
    """The half of its file is begun anew; where it was whole and the plain one not yet gone, that goes."""
    path = tmp_path / "out"
    _aside(path, ".000001", ".000002")
    (tmp_path / ".out.000001.new").write_bytes(b"half")
    rotation = Rotation(codec="gzip")
    rotation.tidy(path)
    again = rotation.path(path, 2)
    again.write_text("plain, again")
    rotation.tidy(path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.000001.gz", "out.000002.gz"]
    assert gzip.decompress((tmp_path / "out.000001.gz").read_bytes()) == b".000001"
    assert gzip.decompress((tmp_path / "out.000002.gz").read_bytes()) == b"plain, again"


def test_without_a_folder() -> None:
    """The error is the caller's."""
    with pytest.raises(OSError, match="No such file"):
        Rotation(keep=1).tidy(Path("/nonexistent-firsthand/out"))
