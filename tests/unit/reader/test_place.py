"""reader/place.py: where a history's reader is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firsthand.reader import place


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Instead of /run/firsthand, without a socket that the environment names."""
    found = tmp_path / "run"
    found.mkdir()
    monkeypatch.setattr(place, "FOLDER", found)
    monkeypatch.delenv(place.VARIABLE, raising=False)
    return found


def test_a_history_has_a_socket_of_its_own(folder: Path, tmp_path: Path) -> None:
    """By device and inode: by whatever way it is reached it is the same, and a copy is another."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (tmp_path / "link").symlink_to(one)
    assert place.own(one) == place.own(tmp_path / "link") != place.own(other)
    assert place.sockets(one) == [place.own(one), folder / "reader.sock"]
    found = one.stat()
    assert place.own(one).name == f"reader-{found.st_dev:x}-{found.st_ino:x}.sock"


def test_a_history_that_is_not_there_has_none(folder: Path, tmp_path: Path) -> None:
    """Then nobody is asked."""
    assert place.sockets(tmp_path / "none") == [] and place.absent(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        place.own(tmp_path / "none")


@pytest.mark.parametrize(("named", "tried"), [("none", []), ("/x/y.sock", [Path("/x/y.sock")])])
def test_the_environment_names_another_or_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, tried: list[Path]
) -> None:
    """Also for a history that is not there; an empty one names nothing."""
    monkeypatch.setenv(place.VARIABLE, named)
    assert place.sockets(tmp_path) == place.sockets(tmp_path / "none") == tried
    monkeypatch.setenv(place.VARIABLE, "")
    assert len(place.sockets(tmp_path)) == 2


def test_whether_anybody_need_be_asked(folder: Path, tmp_path: Path) -> None:
    """A link that leads nowhere, and a path that cannot be looked at, may be a reader's: it is tried."""
    assert place.absent(tmp_path)
    (folder / "reader.sock").symlink_to(tmp_path / "gone")
    assert not place.absent(tmp_path)


def test_a_path_that_cannot_be_looked_at_may_be_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below a file, or of too many letters."""
    for path in (__file__ + "/x", "/" + "n" * 5000):
        monkeypatch.setenv(place.VARIABLE, path)
        assert not place.absent(tmp_path)


def test_a_version_is_an_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another one of the same number gives another word."""
    before = place.build()
    copy = tmp_path / "firsthand/reader/place.py"
    copy.parent.mkdir(parents=True)
    (tmp_path / "firsthand/__init__.py").write_text("")
    monkeypatch.setattr(place, "__file__", str(copy))
    assert place.build() != before and place.build().split()[0] == before.split()[0]
    os.utime(tmp_path / "firsthand/__init__.py", ns=(1, 1))
    assert place.build().endswith(":1")
