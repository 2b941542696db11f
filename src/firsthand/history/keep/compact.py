"""Compaction: the merges that levels.py plans, step by step within the generation in force.

No file is edited. One segment of several is written beside them, committed in the manifest, and then shown to other engines. A crash
before the commit leaves a file that nobody lists and the next start removes; one after it is put right by the keeper's start. The
files of what was merged stay ten minutes for readers that have begun.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from firsthand.history import fault, place
from firsthand.history.keep import levels, merge
from firsthand.history.keep.levels import FAN, HEAVY, Group, Merge
from firsthand.history.keep.unnamed import Unnamed, UnnamedFound
from firsthand.history.log.chunk import Position
from firsthand.history.names.names import Names
from firsthand.history.store import aside, generations, segment
from firsthand.history.store.generations import KEEP
from firsthand.history.store.manifest import Manifest, Segment
from firsthand.history.store.shown import Shown

#: What a merge puts behind the first one's name: the number of the act that commits it.
_ACT = re.compile(r"(-m\d+)?\.parquet$")


class Compaction:
    """The merges of one history. A merge that is under way goes on with the next step; `fan` is levels.FAN."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        shown: Shown,
        *,
        fan: int = FAN,
        keep: float = KEEP,
        names: Names | None = None,
        unnamed: Unnamed | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.directory, self.manifest, self.shown = directory, manifest, shown
        self.fan, self.keep, self.now = fan, keep, now
        self.names = Names() if names is None else names
        self.unnamed = Unnamed() if unnamed is None else unnamed
        #: Rows that merges wrote.
        self.written = 0
        self._today = ""
        self._closed: set[Group] = set()
        self._nothing_due = False
        self._under_way: tuple[Merge, Iterator[None]] | None = None
        _remove_unfinished(directory, manifest)

    @property
    def idle(self) -> bool:
        """Whether no merge is under way, and none was due when it was last looked."""
        return self._under_way is None and self._nothing_due

    def run(self, late: Collection[str] = ()) -> None:
        """Merge all that is due, names that came `late` as well."""
        self.names_late(late)
        while self.step():
            pass
        self.remove()

    def step(self, *, urgent: bool = False) -> bool:
        """Some more of a merge, or the first of one that is due (`urgent`: only what cannot wait); False: nothing was to be done."""
        if self._under_way is None:
            due = self._next()
            self._nothing_due = due is None
            if due is None or (urgent and not due.urgent):
                return False
            self._under_way = due, self._merged(due)
        elif urgent and not self._under_way[0].urgent:
            return False
        try:
            next(self._under_way[1])
        except StopIteration:
            self._under_way = None
        except BaseException:
            self.abandon()
            raise
        return True

    def names_late(self, late: Collection[str]) -> None:
        """Write segments again whose names came later, where no merge of them is near: those of few rows."""
        listed = {one.path: one for one in self.manifest.snapshot().segments} if late else {}
        for path in late:
            one = listed.get(path)
            if one is not None and one.rows < HEAVY and (whole := self._whole(Merge((one,), urgent=True))):
                for _ in self._merged(whole):
                    pass

    def abandon(self) -> None:
        """Let go of the merge that is under way: nothing of it stays."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way[1].close()  # type: ignore[attr-defined]

    def remove(self) -> None:
        """Remove the files of what was merged when their readers' time is over, and generations out of use."""
        now = self.now()
        root = segment.generation(self.directory, self.manifest.generation())
        gone = self.manifest.gone_before(now - self.keep)
        for path in gone:
            (root / path).unlink(missing_ok=True)
        if gone:
            self.manifest.forget(gone)
        generations.remove_old(self.directory, self.manifest.generation(), self.keep, now)

    def _next(self) -> Merge | None:
        """The most urgent merge that is due, of what is not damaged."""
        today = segment.date_of(levels.closes(self.now()))
        if today != self._today:
            self._today, self._closed = today, set()
        for due in levels.due(self.manifest.snapshot().segments, today, self._closed, self.fan):
            if whole := self._whole(due):
                return whole
            if due.closes:
                self._closed.add(due.group)
        return None

    def _whole(self, due: Merge) -> Merge | None:
        """The merge without what is damaged: merged, it would get a hash that holds. That is set aside."""
        root = segment.generation(self.directory, self.manifest.generation())
        damage = {one.path: segment.damage(root / one.path, one) for one in due.parts}
        damaged = [(one, what) for one in due.parts if (what := damage[one.path])]
        if damaged:
            aside.put(self.directory, self.manifest, damaged, self.now())
            self.shown.renew(self.manifest.snapshot())
        parts = tuple(one for one in due.parts if not damage[one.path])
        return Merge(parts, due.urgent, due.closes) if len(parts) >= min(2, len(due.parts)) else None

    def _merged(self, due: Merge) -> Iterator[None]:
        """Write one segment of several, and commit it: a run or some rows at each step."""
        fault.reached("merge.before_link")
        old = segment.generation(self.directory, self.manifest.generation())
        first, last = due.parts[0], due.parts[-1]
        path = _ACT.sub(f"-m{self.manifest.act()}.parquet", first.path)
        span = (Position(first.from_file, first.from_offset), Position(last.to_file, last.to_offset))
        with contextlib.ExitStack() as stack:
            sources: list[merge.SortedRun] = []
            for one in merge.runs(old, due.parts, self.names, _scratch(self.directory)):
                stack.callback(one.close)
                sources.append(one)
                yield
            schema = merge.schema_of(sources)
            writer = stack.enter_context(segment.Writer(old.parent, path, schema, first.node, span, first.log))
            found = UnnamedFound()
            fault.reached("merge.before_merge")
            for rows in merge.rows(sources):
                writer.add(rows)
                found.add(rows)
                fault.reached("merge.after_rows")
                yield
            if self._listed(due):
                self.unnamed.remember(found, [self._commit(due, writer)])

    def _listed(self, due: Merge) -> bool:
        """Whether all is still there that the merge was made of: retention may have let some go meanwhile."""
        held = {(one.path, one.sha256) for one in self.manifest.snapshot().segments}
        return all((one.path, one.sha256) in held for one in due.parts)

    def _commit(self, due: Merge, writer: segment.Writer) -> Segment:
        now = self.manifest.snapshot()
        gone = {one.path for one in due.parts}
        root = segment.generation(self.directory, now.generation)
        if self.shown.usable:
            made = writer.finish(root)
            self.manifest.merge(now.generation, gone, [made])
            folder = made.path.rpartition("/")[0]
            self.shown.change(root, folder, self.manifest.snapshot().segments)
        else:
            new = generations.begin(self.directory, now.generation + 1)
            generations.link(root, new, {one.path for one in now.segments} - gone)
            made = writer.finish(new)
            self.manifest.merge(now.generation + 1, gone, [made])
            generations.done(self.directory, now.generation, self.now())
        self.written += made.rows
        if due.closes:
            self._closed.add(due.group)
        fault.reached("merge.before_mark")
        return made


def run(
    directory: Path,
    manifest: Manifest,
    generation: int,
    *,
    many: int = FAN,
    keep: float = KEEP,
    names: Names | None = None,
    late: Collection[str] = (),
    now: Callable[[], float] = time.time,
) -> int:
    """Merge what is due in a history that has no keeper, and return the number of the generation in force."""
    shown = Shown(directory, manifest.snapshot())
    Compaction(directory, manifest, shown, fan=many, keep=keep, names=names, now=now).run(late)
    return manifest.generation()


def _scratch(directory: Path) -> Path:
    """Where runs go that are not kept."""
    return place.folder(directory / place.GENERATIONS / ".new")


def _remove_unfinished(directory: Path, manifest: Manifest) -> None:
    """What a process that died left: files that were not finished, and one that was and not committed."""
    root = segment.generation(directory, manifest.generation())
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(root.parent / ".new")
    act = manifest.act()
    for path in root.glob(f"*/date=*/*-m{act}.parquet"):
        path.unlink()
