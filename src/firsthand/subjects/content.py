"""Whether what readers of a file get is what the disk holds, as the checker compares it (firsthand/content)."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.declare import PROTECTED, Subject, SubjectTable, Switch, TimelineRow

_DIFFERS, _FILE = ("differs", "same"), ("differs", "same", "listed")
_TABLE = SubjectTable(
    "content",
    "Files whose cached pages were compared with the disk: what differs, which files are checked, and each round of checks",
    (
        Column(
            "event",
            "text",
            "differs: the page cache holds something else than the disk, though nothing was written (again each day); same: it no longer does; "
            "listed: a file is on the list, was taken off, or is checked now or not any more (again each day); round: all of the list was gone "
            "through",
        ),
        Column(
            "path",
            "text",
            "the file without symbolic links, as the checker reaches it; bytes that are no UTF-8 as \\xNN",
        ),
        Column(
            "kind",
            "text",
            "why it is on the list: setuid, setgid, capabilities, account, preload, named (by the setting content.files)",
        ),
        Column(
            "state",
            "text",
            "of listed: checked (and the same), differs, unchecked (`reason` says why), absent, off (no longer on the list)",
        ),
        Column("reason", "text", "why it is not checked"),
        Column("filesystem", "text", "kind of its file system"),
        Column("file_device", "text", "device of its file system, major:minor"),
        Column("file_inode", "int64", "its inode number"),
        Column("size", "int64", "its size", "bytes"),
        Column("resident", "int64", "how much of it was cached, and compared", "bytes"),
        Column("changed", "time", "its change time (ctime), which every write sets"),
        Column("modified", "time", "its modification time (mtime)"),
        Column("cached_sha256", "text", "SHA-256 of the whole file as a reader gets it"),
        Column("disk_sha256", "text", "SHA-256 of the whole file as the disk holds it"),
        Column("first_offset", "int64", "the first byte that differs", "bytes"),
        Column("bytes_differ", "int64", "how many of the cached bytes differ", "bytes"),
        Column(
            "since",
            "time",
            "of a round: when it began; of differs: when it was compared last and was the same; null: never by this checker",
        ),
        Column("until", "time", "of a round: when it ended; of differs and same: when it was compared"),
        Column("checked", "int64", "files that the round compared, those that differ with them"),
        Column("differing", "int64", "files of these whose cached pages differ from the disk"),
        Column("unchecked", "int64", "files that the round could not compare"),
        Column("every", "int64", "from the begin of a round to that of the next one, as it is set", "seconds"),
        Column("reasons", "text", "JSON: for each reason how many files were not compared for it"),
    ),
    kinds=("differs", "same", "listed", "round"),
    fills={
        **dict.fromkeys(("path", "kind"), _FILE),
        **dict.fromkeys(("state", "reason"), ("listed",)),
        **dict.fromkeys(
            ("filesystem", "file_device", "file_inode", "size", "resident", "changed", "modified"), _DIFFERS
        ),
        **dict.fromkeys(("cached_sha256", "disk_sha256", "first_offset", "bytes_differ"), ("differs",)),
        **dict.fromkeys(("since",), ("differs", "round")),
        **dict.fromkeys(("until",), ("differs", "same", "round")),
        **dict.fromkeys(("checked", "differing", "unchecked", "every", "reasons"), ("round",)),
    },
    retention=PROTECTED,
    chosen=True,
    summary=("path",),
    line=TimelineRow(
        "path",
        "concat_ws(' ', 'content', bytes_differ, 'bytes, disk', disk_sha256)",
        where="event IN ('differs', 'same')",
        always=False,
    ),
)

SUBJECT = Subject(
    "content",
    (_TABLE,),
    switches=(Switch(("content",), "content", "no file's content was checked", "content.enabled"),),
    page="docs/content.md",
    rank=85,
)
