"""What tests keep outside the clone: whole or not there, made once, gone when nobody wants it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests import caches


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "firsthand-tests"


def test_it_is_made_once(place: Path) -> None:
    """Law: a folder is filled where it is not there, and never again."""
    made: list[Path] = []

    def fill(to: Path) -> None:
        made.append(to)
        (to / "kernel").write_text("image")

    folders = [caches.folder("kernels", "one", fill) for _ in range(3)]
    assert set(folders) == {place / "kernels/one"} and len(made) == 1
    assert (folders[0] / "kernel").read_text() == "image" and not made[0].exists()
    assert caches.holds("kernels", "one") and not caches.holds("kernels", "two")


def test_a_failure_leaves_nothing(place: Path) -> None:
    """Law: what could not be made whole is not there, and the next one makes it."""

    def fail(to: Path) -> None:
        (to / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        caches.folder("wheels", "one", fail)
    assert [path.name for path in (place / "wheels").iterdir() if path.is_dir()] == []
    assert list(caches.folder("wheels", "one", lambda to: None).iterdir()) == []


def test_two_at_once_make_one() -> None:
    """Law: whoever comes while it is being made waits, and takes it."""
    begun, go_on, made = threading.Event(), threading.Event(), []

    def fill(to: Path) -> None:
        made.append(to)
        begun.set()
        assert go_on.wait(30)

    threads = [threading.Thread(target=caches.folder, args=("wheels", "one", fill)) for _ in range(2)]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(made) == 1


def test_what_nobody_uses_is_removed(place: Path) -> None:
    """Law: at the next making of the same kind, after two weeks without use; a use counts anew."""
    month_ago = time.time() - 30 * 86_400
    for name in ("old", "used"):
        os.utime(caches.folder("layers", name, lambda to: None), (month_ago, month_ago))
    caches.folder("layers", "used", lambda to: pytest.fail("made again"))
    caches.folder("layers", "new", lambda to: None)
    assert sorted(path.name for path in (place / "layers").iterdir() if path.is_dir()) == ["new", "used"]


def test_a_key_is_of_words_and_contents(tmp_path: Path) -> None:
    """Law: other words, another order, another cut or another content are another key; the same are the same."""
    file = tmp_path / "file"
    keys = []
    for parts, content in [(("a", "b"), "1"), (("b", "a"), "1"), (("ab",), "1"), (("a", "b"), "2"), ((b"a", "b"), "1")]:
        file.write_text(content)
        keys.append(caches.key(*parts, files=[file]))
    assert keys[0] == keys[4] and len(set(keys)) == 4


def test_a_relative_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: XDG_CACHE_HOME counts as unset where it is empty or not absolute (XDG Base Directory Specification)."""
    for home in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", home)
        assert caches.root() == Path.home() / ".cache/firsthand-tests"
