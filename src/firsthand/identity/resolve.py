"""Who it was, from what the kernel said: the container by the cgroup's path, and the binary of forks and exits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.identity._images import ImageTable
from firsthand.identity.container import ContainerPath, parse
from firsthand.wire.batch import Batch, Fixed, Text, distinct, spread

CGROUPS = 65536
IMAGES = 262144
_FIELDS = ("container", "cgroup_path", "runtime", "pod_uid")
#: enum record_kind of kernel/include/events.h to the codes of ImageTable.follow.
_EVENTS = {b"fork": 0, b"exec": 1, b"exit": 2, b"seen": 3, b"folded": 4}


class Cgroups:
    """Paths of cgroups by kernfs id, least recently named first to go. `forgotten` counts those that went."""

    def __init__(self, most: int = CGROUPS) -> None:
        self._known: OrderedDict[int, tuple[bytes, ContainerPath]] = OrderedDict()
        self._most = most
        self.forgotten = 0

    def learn(self, batch: Batch) -> None:
        """Take the paths of a container batch: create, seen and move rows name them."""
        ids = cast("Fixed", batch.columns["cgroup_id"]).values
        paths = cast("Text", batch.columns["cgroup_path"])
        named_ids, first = np.unique(ids, return_index=True)
        for key, row in zip(named_ids.tolist(), first.tolist(), strict=True):
            path = paths.row(row)
            self._known[key] = (path, parse(path))
            self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
            self.forgotten += 1

    def seed(self, paths: Mapping[int, bytes]) -> None:
        """Take the paths of cgroups that are there already."""
        for key, path in list(paths.items())[: self._most]:
            self._known.setdefault(key, (path, parse(path)))

    def __len__(self) -> int:
        return len(self._known)

    def words(self, key: int) -> tuple[bytes, bytes, bytes, bytes]:
        """(container, path, runtime, pod uid) of a cgroup, empty where unknown or none."""
        path, parsed = self._known.get(key, (b"", None))
        if parsed is None:
            return b"", path, b"", b""
        texts = (parsed.container, parsed.runtime, parsed.pod_uid)
        container, runtime, pod = ((text or "").encode() for text in texts)
        return container, path.decode("utf-8", "backslashreplace").encode(), runtime, pod


class Resolver:
    """Adds to batches what only the whole stream tells. Tables are bounded; see `Cgroups` and `ImageTable`.

    `late`: how many images that ended are still known, for forks that are told late.
    """

    def __init__(self, cgroups: int = CGROUPS, images: int = IMAGES, late: int = 0) -> None:
        self.cgroups = Cgroups(cgroups)
        self.images = ImageTable(images, late)

    def containers(self, batch: Batch) -> None:
        """container, cgroup_path, runtime and pod_uid of each row, from its cgroup_id."""
        ids = cast("Fixed", batch.columns["cgroup_id"]).values
        codes, found = distinct(ids)
        rows = [self.cgroups.words(key) for key in found]
        for place, name in enumerate(_FIELDS):
            batch.columns[name] = named(codes, [row[place] for row in rows])

    def binaries(self, batch: Batch) -> None:
        """exe of forks (their parent's) and exits (their own), which the records do not carry."""
        columns: dict[str, Any] = batch.columns
        exe: Text = columns["exe"]
        codes = self.images.follow(
            _event_codes(columns["event"]),
            columns["exec_tgid"].values,
            columns["exec_start"].values,
            columns["exec_number"].values,
            columns["parent_tgid"].values,
            columns["parent_start"].values,
            columns["parent_number"].values,
            exe.offsets,
            exe.data,
        )
        batch.columns["exe"] = named(codes, self.images.paths) if len(self.images.paths) else exe


def _event_codes(event: Text) -> NDArray[np.uint8]:
    """fork, exec, exit, seen and folded by their second and third letters: or, xe, xi, ee, ol."""
    second = event.data[event.offsets[:-1] + 1].astype(np.int32)
    third = event.data[event.offsets[:-1] + 2].astype(np.int32)
    codes = np.full(len(event), 255, dtype=np.uint8)
    for word, code in _EVENTS.items():
        codes[(second == word[1]) & (third == word[2])] = code
    return codes


def named(codes: NDArray[Any], words: list[bytes]) -> Text:
    """words[code] of each row, null where the word is empty or the code negative."""
    places, used = distinct(codes)
    chosen = [words[code] if code >= 0 else b"" for code in used] or [b""]
    array = np.array(chosen)
    lengths = np.array([len(word) for word in chosen], dtype=np.int32)
    found = spread(places, array, lengths)
    valid = lengths[places] > 0
    found.valid = None if valid.all() else valid
    return found
