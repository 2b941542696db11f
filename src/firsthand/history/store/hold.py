"""Holds: spans of the history that retention must leave, with who asked for it, when and why (HISTORY/holds.json).

The file is replaced as a whole. Whoever changes it, and the keeper while it lets rows go, has holds.lock: a hold that
was made is kept by every act of retention that commits after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.errors import HistoryError, UsageError
from firsthand.history import place
from firsthand.history.store import share

FILE = "holds.json"
LOCK = "holds.lock"
#: Holds of one history; the file is read at each act of retention.
MOST = 1_000


@dataclass(frozen=True)
class Hold:
    """One hold: rows from `since` to `until` (microseconds, both included; None: without end), of a namespace or pod if given.

    `finding` names what it was made for where it was no person's own words. `at` is when it was made, `by` the user.
    """

    id: int
    reason: str
    by: str
    at: int
    since: int | None = None
    until: int | None = None
    namespace: str | None = None
    pod: str | None = None
    finding: str | None = None

    def meets(self, namespace: str, first: int, last: int) -> bool:
        """Whether rows of a namespace from `first` to `last` may be held."""
        early, late = self.since is not None and last < self.since, self.until is not None and first > self.until
        return self.namespace in (None, namespace) and not early and not late

    def covers(self, namespace: str, first: int, last: int) -> bool:
        """Whether all rows of a namespace from `first` to `last` are held."""
        begun = self.since is None or self.since <= first
        return (
            self.pod is None
            and begun
            and (self.until is None or last <= self.until)
            and self.meets(namespace, first, last)
        )


def load(directory: Path) -> tuple[Hold, ...]:
    """The holds of a history. HistoryError where they cannot be read: then nothing may be let go."""
    path = directory / FILE
    try:
        return tuple(Hold(**one) for one in json.loads(path.read_text())["holds"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        known = ", ".join(field.name for field in fields(Hold))
        raise HistoryError(
            f'{path}: expected {{"next": N, "holds": [...]}} with {known}; found {error!r}; until it is put right '
            "retention lets nothing go"
        ) from error


def add(
    directory: Path,
    reason: str,
    now: int,
    *,
    since: int | None = None,
    until: int | None = None,
    namespace: str | None = None,
    pod: str | None = None,
    finding: str | None = None,
) -> Hold:
    """Make a hold, durable when this returns. UsageError where there are too many, HistoryError where it cannot be written."""
    with locked(directory):
        known = load(directory)
        if len(known) >= MOST:
            raise UsageError(f"{directory / FILE}: there are {len(known):,} holds, and no more may be; remove some")
        made = Hold(_next(directory), reason, _user(), now, since, until, namespace, pod, finding)
        _write(directory, (*known, made), made.id + 1)
    return made


def remove(directory: Path, identity: int) -> Hold:
    """End a hold; what it held goes when its time is over. UsageError where there is none of that id."""
    with locked(directory):
        known = load(directory)
        gone = [one for one in known if one.id == identity]
        if not gone:
            listed = ", ".join(str(one.id) for one in known) or "none"
            raise UsageError(f"no hold {identity}; there are: {listed} (`firsthand hold list`)")
        _write(directory, tuple(one for one in known if one.id != identity), _next(directory))
    return gone[0]


@contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[bool]:
    """Have the holds for oneself; waits for the other, or yields False without `wait`: the keeper must not stand still.

    HistoryError where the history may not be written.
    """
    try:
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _adopt(directory, handle)
    except OSError as error:
        raise HistoryError(f"{directory / LOCK}: {error}; holds are made by whoever may write the history") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(handle)


def _adopt(directory: Path, handle: int) -> None:
    """The lock is the keeper's too, whoever made it, and no reader's: what may be opened may be locked."""
    with contextlib.suppress(PermissionError):
        os.fchmod(handle, 0o600)
    if os.fstat(handle).st_uid != directory.stat().st_uid:
        try:
            place.adopt(directory, handle)
        except OSError:
            os.close(handle)
            raise


def _next(directory: Path) -> int:
    """The id that comes next; one is never used again."""
    try:
        return int(json.loads((directory / FILE).read_text())["next"])
    except FileNotFoundError:
        return 1


def _user() -> str:
    """Who asks: by sudo the one behind it."""
    named = os.environ.get("SUDO_USER")
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _write(directory: Path, holds: Sequence[Hold], following: int) -> None:
    path = directory / FILE
    temporary = path.with_name(f".{FILE}")
    try:
        with temporary.open("w") as file:
            json.dump({"next": following, "holds": [asdict(one) for one in holds]}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o640)
        place.adopt(directory, temporary)
        temporary.replace(path)
        place.sync(directory)
    except OSError as error:
        raise HistoryError(f"{path}: the holds cannot be written ({error}); free space, or be root") from error


def mask(rows: pa.Table, holds: Sequence[Hold]) -> Any:
    """For each row whether one of the holds has it."""
    found: Any = pa.chunked_array([pa.repeat(False, rows.num_rows)])
    for one in holds:
        found = pc.or_(found, _held(rows, one))
    return found


def _held(rows: pa.Table, one: Hold) -> Any:
    """A pod is named by its name or uid; a row without the columns that would tell is held."""
    keys = share.keys("", rows)
    found: Any = pa.chunked_array([pa.repeat(True, rows.num_rows)])
    if one.since is not None:
        found = pc.and_(found, pc.greater_equal(keys["time"], one.since))
    if one.until is not None:
        found = pc.and_(found, pc.less_equal(keys["time"], one.until))
    if one.namespace is not None:
        found = pc.and_(found, pc.equal(keys["namespace"], one.namespace))
    named = [name for name in ("pod", "pod_uid") if name in rows.column_names]
    if one.pod is not None and named:
        either = [pc.fill_null(pc.equal(rows.column(name), one.pod), False) for name in named]
        found = pc.and_(found, either[0] if len(either) == 1 else pc.or_(*either))
    return found
