"""What of a window was watched: the list of files in force then, as the rows of `observer` have it, and what that cannot prove (law 11)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from firsthand.ask.answer import Asked, iso, plural
from firsthand.ask.completeness import Span
from firsthand.errors import UsageError
from firsthand.settings import watchlist
from firsthand.settings.watchlist import READ, Watchlist

#: The table of watched files.
TABLE = "file"
#: What is written to a file has its row when the file is closed, or this much later at most (kernel/include/held.h): the minute of a file
#: that stays open, a sweep, and the next commit.
_TOLD = timedelta(seconds=61.5)
#: Flags of rows that do not have all, and what is said of them.
_DOUBTFUL = {
    "PATH_TRUNCATED": "the path of {} is cut: it may be of another file",
    "MAPPED": "what was written through memory maps is not in the bytes of {}",
}


@dataclass(frozen=True)
class FileTarget:
    """Files that a question is about: one by its path, all below a folder (/ at the end), or those of a pattern."""

    text: str

    @classmethod
    def of(cls, text: str) -> FileTarget:
        """UsageError where it cannot be a path."""
        try:
            watchlist.checked([text])
        except ValueError as error:
            raise UsageError(
                f"{error}; give an absolute path, a folder with / at the end, or a pattern such as '**/.ssh/*'"
            ) from error
        return cls(text)

    @property
    def condition(self) -> tuple[str, list[Any]]:
        """SQL for rows of `file` of which it is: by any of the names that they have; and renames of folders above it, which move it."""
        test, values = self._test
        columns = ("path", "target", "source_path")
        tests = [test.format(column=name) for name in columns]
        folders = watchlist.above(self.text)
        if folders:
            moves = " OR ".join(f"regexp_full_match({name}, ?, 's')" for name in columns[:2])
            tests.append(f"(event = 'rename' AND ({moves}))")
        whole = "|".join(watchlist.expression(folder).pattern for folder in folders)
        return f"({' OR '.join(tests)})", values * len(columns) + [whole] * 2 * bool(folders)

    @property
    def _test(self) -> tuple[str, list[Any]]:
        if re.search(r"[*?]", self.text):
            patterns = [self.text.rstrip("/"), f"{self.text}**"] if self.text.endswith("/") else [self.text]
            whole = "|".join(watchlist.expression(pattern).pattern for pattern in patterns)
            return "regexp_full_match({column}, ?, 's')", [whole]
        if self.text.endswith("/"):
            return "(starts_with({column}, ?) OR {column} = ?)", [self.text, self.text.rstrip("/")]
        return "{column} = ?", [self.text]


def of_span(span: Span) -> Watchlist:
    """The list that was in force, without entries that no resolved path is of: they go over a symbolic link."""
    told = span.settings.get(TABLE, {})
    if not told.get("enabled"):
        return Watchlist()
    read, write = ([one for one in told.get(name, ()) if one not in _led(span)] for name in ("read", "write"))
    return Watchlist(tuple(read), tuple(write))


def _led(span: Span) -> dict[str, str]:
    """Entries that went over a symbolic link of the machine, with where they led."""
    return dict(span.settings.get("file_links", {}))


def inside(asked: Asked, spans: Sequence[Span]) -> list[Span]:
    """The spans of a question's window and node."""
    node, window = asked.filters.node, asked.window
    mine = [span for span in spans if node in (None, span.node)]
    return [span for span in mine if span.end >= window.since and span.begin <= window.until]


def unwatched(spans: Sequence[Span], target: FileTarget | None, access: int) -> list[str]:
    """Why rows of a target (None: of anything) may be missing though all that was watched is recorded."""
    how = "" if access == READ else " for writing"
    said = []
    for span in spans:
        watched = of_span(span)
        time = f"from {iso(span.begin)} to {iso(span.end)} on {span.node} (section files of the settings)"
        if not watched:
            said.append(f"no file was watched {time}")
        elif target is not None and not watched.covers(target.text, access):
            said.append(f"{target.text} was not watched{how} {time}{_elsewhere(span, target.text, access)}")
    return said


def _elsewhere(span: Span, text: str, access: int) -> str:
    """Where the entries lead that would cover it by their letters."""
    leads = [
        f"{entry} leads to {real}" for entry, real in _led(span).items() if Watchlist((entry,)).covers(text, access)
    ]
    return f"; by symbolic links {', '.join(leads)}: name that" if leads else ""


def doubts(asked: Asked, spans: Sequence[Span]) -> list[str]:
    """What else keeps a missing row from proving anything: rows to come, and paths that are cut."""
    found: list[str] = []
    for span in spans:
        since = max(span.begin, span.end - _TOLD)
        if asked.window.until >= since and of_span(span):
            until = "that are still open may not be recorded yet"
            if not span.open:
                until = f"that were open at its end, {iso(span.end)}, may not be recorded"
            found.append(f"what was written since {iso(since)} on {span.node} to files {until}")
    for flag, words in _DOUBTFUL.items():
        where, values = asked.where((f"contains(coalesce(flag_names, ''), '{flag}')", []))
        if number := asked.number(f"SELECT count(*) FROM file WHERE {where}", values):  # noqa: S608
            found.append(words.format(plural(number, "row")))
    return found


def renamed(rows: Sequence[dict[str, Any]], spans: Sequence[Span], access: int) -> list[str]:
    """Names that links and renames gave what was asked for, and by which it was not watched."""
    names = {row["target"] for row in rows if row["event"] in ("link", "rename") and row["error"] is None}
    lists = [of_span(span) for span in spans]
    other = sorted(name for name in names if name and not all(one.covers(name, access) for one in lists))
    if not other:
        return []
    shown = ", ".join(other[:3]) + (f" and {len(other) - 3:,} more" if len(other) > 3 else "")
    return [f"it got names that were not watched: {shown}; what was opened by them is not recorded"]


def target(words: Sequence[str]) -> FileTarget | None:
    """The argument of a question, where it has one. UsageError for more."""
    if len(words) > 1:
        raise UsageError(f"give one path, a folder with / at the end, or a pattern; found {' '.join(words)}")
    return FileTarget.of(words[0]) if words else None
