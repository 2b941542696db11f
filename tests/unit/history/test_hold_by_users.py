"""history/store/hold.py by whoever adds and whoever reads: root adds, the keeper obeys, a reader lists, nobody else gets at it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.confine import wall
from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.store import hold
from tests import histories, require, samples
from tests.users import as_user

READERS, OTHER = 4_299_001, 4_299_002
KEEPER = wall.number("keeper")


@pytest.fixture
def history() -> Iterator[Path]:
    """A history as `firsthand run` prepares one: the keeper's, for the readers' group."""
    require.root()
    folder = Path(tempfile.mkdtemp(prefix="firsthand-holds-", dir="/var/tmp"))
    histories.write(folder, samples.process_lives(10))
    for path in [*folder.rglob("*"), folder]:
        os.chown(path, KEEPER, READERS)
        path.chmod(0o750 if path.is_dir() else 0o640)
    yield folder
    shutil.rmtree(folder)


def _retained(folder: Path) -> tuple[int, bool]:
    """What the keeper does at each act of retention: have the lock without waiting, and read the holds."""
    with hold.locked(folder, wait=False) as alone:
        return len(hold.load(folder)), alone


def test_the_keeper_obeys_whoever_added(history: Path) -> None:
    """Law: a hold that root adds, the first or a later one, is read and replaced by the keeper, and one of the keeper's by root."""
    hold.add(history, "by root", 1)
    assert as_user(KEEPER, READERS, lambda: _retained(history)) == (1, True)
    made = as_user(KEEPER, READERS, lambda: hold.add(history, "by the keeper", 2).id)
    assert made == 2 and _retained(history) == (2, True)
    hold.remove(history, 1)
    assert as_user(KEEPER, READERS, lambda: hold.remove(history, 2).reason) == "by the keeper"
    for name, mode in ((hold.FILE, 0o640), (hold.LOCK, 0o600)):
        found = (history / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (KEEPER, READERS, mode), name


def test_a_lock_that_root_left_is_given_back(history: Path) -> None:
    """Law: a lock file of a version before, root's own, is the keeper's after root's next act."""
    (history / hold.LOCK).touch(mode=0o600)
    hold.add(history, "by root", 1)
    assert as_user(KEEPER, READERS, lambda: _retained(history)) == (1, True)


def test_the_keeper_itself_goes_on(history: Path) -> None:
    """Law: retention of a keeper that runs as its user is not stopped by root's hold."""
    hold.add(history, "by root", 1)

    def retained() -> str:
        keeper = Keeper(history, linger=0)
        keeper.pass_once(last=True)
        keeper.tidy()
        keeper.close()
        return "went on"

    assert as_user(KEEPER, READERS, retained) == "went on"


def test_a_reader_lists_and_does_not_change(history: Path) -> None:
    """Law: a member of the group reads the holds and gets a message where it would write; another user gets messages alone."""
    hold.add(history, "by root", 1)
    assert as_user(OTHER, OTHER, lambda: hold.load(history)[0].reason, (READERS,)) == "by root"
    refused = as_user(OTHER, OTHER, lambda: hold.add(history, "no", 2), (READERS,))
    assert isinstance(refused, HistoryError) and "holds are made by whoever may write the history" in str(refused)
    assert isinstance(as_user(OTHER, OTHER, lambda: hold.load(history)), HistoryError)


def test_the_history_has_its_id_before_it_is_given_away(history: Path) -> None:
    """Law: whoever prepares a history makes its id, which is the keeper's and stays: root alone may not write there later."""
    wall.prepare(history)
    found = (history / place.ID).stat()
    keeper = wall.identity("keeper", history)
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (keeper.uid, keeper.readers, 0o640)
    first = place.identity(history)
    wall.prepare(history)
    assert first is not None and place.identity(history, make=True) == first
