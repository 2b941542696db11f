"""Whoever asks the reader gets what he could read himself, and nothing else."""

from __future__ import annotations

import os
import shutil
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.confine import wall
from firsthand.errors import HistoryError
from firsthand.history.store.connection import History
from firsthand.reader import asker, place
from firsthand.reader.asker import NoReader
from tests import histories, readers, require, samples
from tests.readers import Serving
from tests.users import as_user

_USER, _OWN = 4_242_700, 4_242_701
_COUNT = "SELECT count(*) FROM process"


@pytest.fixture(scope="module")
def shown() -> Iterator[Path]:
    """A history as a run leaves it, in a folder that every user can reach."""
    require.root()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    history = folder / "history"
    history.mkdir(mode=0o750)
    histories.write(history, samples.observed(), samples.process_lives(5))
    histories.keep(history, linger=0, grace=0)
    histories.write(history, samples.process_lives(5, first=5))
    wall.prepare(history)
    yield history
    shutil.rmtree(folder)


@pytest.fixture
def serving(shown: Path) -> Iterator[Serving]:
    """Its reader, at a socket that everybody may connect to."""
    path = shown.parent / "reader.sock"
    path.unlink(missing_ok=True)
    with readers.serving(shown, path) as found:
        yield found


@pytest.fixture(autouse=True)
def asked(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked goes to it."""
    monkeypatch.setenv(place.VARIABLE, str(serving.path))


def _readers(history: Path) -> int:
    return wall.identity("reader", history).readers


def _ask(history: Path) -> int:
    ((number,),) = asker.sql(history, _COUNT, "json").rows
    return int(number)


def _by_itself(history: Path) -> str:
    try:
        with History(history).sql(_COUNT) as result:
            return str(list(result.rows()))
    except HistoryError as error:
        return str(error)


def test_it_is_an_ordinary_user(serving: Serving, shown: Path) -> None:
    """Of its own, in the group of those who may read, without a capability, and what it may not it does not."""
    own = wall.identity("reader", shown)
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    words = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert words["Uid"].split() == [str(own.uid)] * 4 and own.uid not in (0, os.getuid())
    assert words["Gid"].split() == [str(own.readers)] * 4
    assert [int(words[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [0] * 5
    assert Path(f"/proc/{serving.process.pid}/oom_score_adj").read_text().strip() == "1000"
    assert not [path for path in (shown, *shown.rglob("*")) if path.lstat().st_uid == own.uid]


@pytest.mark.parametrize(
    "groups", [(True, ()), (False, (_OWN,)), (False, tuple(range(1, 200)))], ids=["own", "more", "many"]
)
def test_who_is_in_the_group_is_answered(shown: Path, groups: tuple[bool, tuple[int, ...]]) -> None:
    """By his own group or by another of his."""
    first, more = groups
    gid = _readers(shown) if first else _OWN
    mine = more if first else (*more, _readers(shown))
    assert as_user(_USER, gid, lambda: _ask(shown), mine) == 30


def test_a_stranger_is_refused(shown: Path) -> None:
    """And hears what he hears without the reader."""
    own = shown.stat()

    def lie() -> None:
        place.history = lambda _: (own.st_dev, own.st_ino)  # type: ignore[assignment]
        asker.sql(shown, _COUNT, "json")

    found = as_user(_USER, _OWN, lie)
    assert isinstance(found, NoReader) and "whether you may read" in str(found)
    assert "you may not read this history" in as_user(_USER, _OWN, lambda: _by_itself(shown))


def test_root_is_answered(shown: Path) -> None:
    """It holds the capability to read whatever it wants."""
    assert _ask(shown) == 30


def test_root_without_a_capability_is_not(shown: Path) -> None:
    """Nor could it read the history, which is another user's."""

    def without() -> int:
        from firsthand.confine import rights

        rights.keep()
        return _ask(shown)

    found = as_user(0, 0, without)
    assert isinstance(found, NoReader) and "whether you may read" in str(found)


def test_a_history_that_is_closed_to_the_group_is_closed(shown: Path) -> None:
    """At once, for all that the reader has read before."""
    gid = _readers(shown)
    shown.chmod(0o700)
    try:
        found = as_user(_USER, gid, lambda: _ask(shown))
        assert isinstance(found, NoReader), found
        assert "you may not read this history" in as_user(_USER, gid, lambda: _by_itself(shown))
    finally:
        shown.chmod(0o750)


def test_a_folder_above_that_is_closed_closes_it(shown: Path) -> None:
    """The reader stands behind it already, and answers nobody but root by that."""
    gid = _readers(shown)
    shown.parent.chmod(0o711)
    assert as_user(_USER, gid, lambda: _ask(shown)) == 30
    own = shown.stat()
    reader = os.open(shown.parent / "reader.sock", os.O_PATH)

    def lie() -> int:
        place.history = lambda _: (own.st_dev, own.st_ino)  # type: ignore[assignment]
        os.environ[place.VARIABLE] = f"/proc/self/fd/{reader}"
        return _ask(shown)

    shown.parent.chmod(0o700)
    try:
        found = as_user(_USER, gid, lie)
        assert isinstance(found, NoReader), found
    finally:
        shown.parent.chmod(0o755)
        os.close(reader)


def test_who_is_shut_out_by_an_acl_is_refused(shown: Path) -> None:
    """A list of entries may say no to one who is in the group: only root is answered by the reader then."""
    gid = _readers(shown)
    user_obj, user, group_obj, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
    undefined = 0xFFFFFFFF
    entries = [
        (user_obj, 7, undefined),
        (user, 0, _USER),
        (group_obj, 5, undefined),
        (mask, 5, undefined),
        (other, 0, undefined),
    ]
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)
    require.acls(shown)
    os.setxattr(shown, "system.posix_acl_access", data)
    try:
        found = as_user(_USER, gid, lambda: _ask(shown))
        assert isinstance(found, NoReader), found
        assert _ask(shown) == 30
    finally:
        os.removexattr(shown, "system.posix_acl_access")
        shown.chmod(0o750)
