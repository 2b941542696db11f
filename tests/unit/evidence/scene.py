"""A history with two pods, made by the real writer and keeper: what a bundle is made from in these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firsthand.ask.answer import Window
from firsthand.evidence.making import Made, Wish, make
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import schema_store
from firsthand.history.log.log import LogWriter
from firsthand.history.store import manifest
from firsthand.history.store.chain import Head
from firsthand.wire.batch import Batch
from tests import samples

#: The window of most tests begins here.
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOW = START + timedelta(hours=1)
WEB, DB, LATE = "a" * 64, "b" * 64, "c" * 64
WEB_UID, DB_UID = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
NODE, BOOT = "node-1", "1f2e3d4c-0000-4000-8000-123456789abc"
_COMMON: dict[str, Any] = {"node": NODE, "boot": BOOT, "ring": 0, "cpu": 0}
#: What ran, in order: seconds from START, event, tgid, image, parent's tgid and image, container, binary.
LIVES: list[tuple[float, str, int, int, int, int, str | None, str]] = [
    (-7200, "seen", 1, 1, 0, 0, None, "/sbin/init"),
    (-7100, "fork", 100, 1, 1, 1, None, "/sbin/init"),
    (-7100, "exec", 100, 2, 1, 1, None, "/usr/bin/containerd"),
    (-7000, "fork", 150, 2, 100, 2, None, "/usr/bin/containerd"),  # its child's child is nobody's in the window
    (-100, "fork", 200, 2, 100, 2, None, "/usr/bin/containerd"),
    (-100, "exec", 200, 3, 100, 2, None, "/usr/bin/shim"),
    (-90, "fork", 300, 3, 200, 3, WEB, "/usr/bin/shim"),
    (-90, "exec", 300, 4, 200, 3, WEB, "/app/web"),
    (-80, "fork", 400, 3, 200, 3, DB, "/usr/bin/shim"),
    (-80, "exec", 400, 4, 200, 3, DB, "/app/db"),
    (5, "fork", 301, 4, 300, 4, WEB, "/app/web"),
    (6, "exec", 301, 5, 300, 4, WEB, "/bin/sh"),
    (7, "fork", 302, 5, 301, 5, WEB, "/bin/sh"),
    (8, "exec", 302, 6, 301, 5, WEB, "/usr/bin/curl"),
    (9, "exit", 302, 6, 301, 5, WEB, "/usr/bin/curl"),
    (10, "exec", 401, 9, 400, 4, DB, "/bin/psql"),
    (12, "exec", 500, 2, 1, 1, None, "/usr/sbin/sshd"),
    (20, "exec", 600, 2, 200, 3, LATE, "/bin/late"),
    (90, "exit", 301, 5, 300, 4, WEB, "/bin/sh"),
]


def micro(seconds: float) -> int:
    """Seconds from START as microseconds since 1970."""
    return round((START.timestamp() + seconds) * 1_000_000)


def process(life: tuple[float, str, int, int, int, int, str | None, str]) -> dict[str, Any]:
    """A row as the observer writes it: with the container's id and the pod's uid, without names."""
    at, event, tgid, number, parent, parents, container, exe = life
    uid = {WEB: WEB_UID, DB: DB_UID}.get(container or "")
    return _COMMON | {
        "time": micro(at), "ktime": micro(at) * 1000, "event": event, "exec_tgid": tgid, "exec_start": tgid * 1000,
        "exec_number": number, "parent_tgid": parent, "parent_start": parent * 1000, "parent_number": parents, "pid": tgid,
        "container": container, "pod_uid": uid, "exe": exe, "args": [exe, "x\n\x1b"],
        "previous_number": number - 1 if event == "exec" else None,
    }  # fmt: skip


def named(container: str, at: float, **more: Any) -> dict[str, Any]:
    """A row of `container` as the follower writes it."""
    words = {"namespace": "shop", "image": "img:1", "container_name": "app", "pod": "web", "pod_uid": WEB_UID}
    words |= {"pod": "db", "namespace": "data", "pod_uid": DB_UID} if container == DB else {}
    words |= {"pod": "late", "pod_uid": "late-uid"} if container == LATE else {}
    row = {"node": NODE, "event": "named", "container": container, "since": micro(-100), "time": micro(at)}
    return row | words | more


def pod(uid: str, at: float, labels: Sequence[str]) -> dict[str, Any]:
    """A row of `pod` as the follower writes it."""
    words = {"pod": "web", "namespace": "shop"} if uid == WEB_UID else {"pod": "db", "namespace": "data"}
    row = {"node": NODE, "event": "named", "pod_uid": uid, "since": micro(-100), "time": micro(at)}
    return row | words | {"labels": list(labels)}


def observer(event: str, at: float, **more: Any) -> dict[str, Any]:
    """A row of `observer`."""
    return samples.observer(event, micro(at), **({"node": NODE, "boot": BOOT} | more))


class EvidenceScene:
    """Both logs and the keeper of one history."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = LogWriter(directory, NODE, BOOT)
        self.names = LogWriter(directory, NODE, BOOT, folder=place.NAMES)
        self.keeper = Keeper(directory, many=2, now=lambda: NOW.timestamp())

    def append(self, table: str, *rows: dict[str, Any]) -> None:
        """Rows of the observer, durable."""
        self.log.append([Batch.from_rows(table, list(rows))], [])

    def tell(self, table: str, *rows: dict[str, Any]) -> None:
        """Rows of the follower, durable."""
        self.names.append([Batch.from_rows(table, list(rows))], [])

    def close(self) -> None:
        """Let go of all three."""
        for one in (self.log, self.names, self.keeper):
            one.close()


def write(directory: Path, *, tail: bool = True) -> Path:
    """The history: hand-overs, a merge, a name that came after its segment, and with `tail` rows in the logs alone."""
    scene = EvidenceScene(directory)
    schema_store.save_layout(directory, hashlib.sha256(b"{}").hexdigest(), "{}")
    rows = [process(life) for life in LIVES]
    scene.append(
        "observer",
        observer("start", -7205),
        observer("ready", -7204),
        *(observer("alive", t) for t in range(-7200, 120, 10)),
    )
    scene.append("clock", *({**_COMMON, "time": micro(t), "realtime": 1, "boottime": 1} for t in range(-7200, 120, 60)))
    scene.tell("container", named(WEB, -89), named(DB, -79))
    scene.tell("pod", pod(WEB_UID, -89, ["app=web"]), pod(DB_UID, -79, ["app=db"]))
    for part in (rows[:5], rows[5:12], rows[12:16]):
        scene.append("process", *part)
        scene.keeper.pass_once(last=True)
    scene.append("process", rows[17])
    scene.append("loss", {"node": NODE, "boot": BOOT, "time": micro(-500), "cause": "sequence_gap", "events": 2, "since": micro(-501),
                          "until": micro(-500)})  # fmt: skip
    scene.keeper.pass_once(last=True)
    scene.keeper.tidy()
    scene.tell("container", named(LATE, 25))
    scene.keeper.pass_once(last=True)
    scene.append("process", rows[16], rows[18])
    scene.append("observer", observer("stop", 130))
    if not tail:
        scene.keeper.pass_once(last=True)
    scene.close()
    return directory


def window(since: float = 0, until: float = 60) -> Window:
    """A window in seconds from START."""
    return Window(START + timedelta(seconds=since), START + timedelta(seconds=until))


def bundle(
    directory: Path, to: Path, since: float = 0, until: float = 60, heads: Path | None = None, **wish: Any
) -> Made:
    """A bundle of the window."""
    return make(directory, Wish(window(since, until), **wish), to, NOW, heads)


def head(directory: Path) -> Head:
    """The chain's head."""
    last = manifest.chained(directory)[0][-1]
    return Head(last.sequence, last.hash)
