"""Who it was, from what the kernel said: the container by the cgroup's path, and the binary of forks and exits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.identity._images import ImageTable
from firsthand.identity.container import ContainerPath, parse
from firsthand.wire.batch import Batch, Fixed, Text, distinct, spread, worded

CGROUPS = 65536
#: Removed cgroups that are still known.
LATE = 1024
IMAGES = 262144
_FIELDS = ("container", "cgroup_path", "runtime", "pod_uid")
#: Columns of a process and of who forked it, by what ImageTable.follow calls them.
_IDS = {f"{of}{part}": f"{of or 'exec_'}{part}" for of in ("", "parent_") for part in ("tgid", "start", "number")}
#: Words of `event` to the codes of ImageTable.follow: who left ends as who exits does.
_EVENTS = {b"fork": 0, b"exec": 1, b"exit": 2, b"seen": 3, b"folded": 4, b"left": 2}
_OTHER = 255
#: The first letters of a word in a number of 64 bits, by how many there are; of a longer word nothing.
_LETTERS = np.array([*((1 << 8 * length) - 1 for length in range(9)), 0], dtype=np.uint64)


class Cgroups:
    """Paths of cgroups by kernfs id, least recently named first to go. `forgotten` counts those that went while they were there.

    Of those that were removed the last `late` are still known: rows of what ran in them may come later, by another ring.
    """

    def __init__(self, most: int = CGROUPS, late: int = LATE) -> None:
        self._known: OrderedDict[int, tuple[bytes, ContainerPath]] = OrderedDict()
        self._removed: OrderedDict[int, None] = OrderedDict()
        self._most = most
        self._late = late
        self.forgotten = 0

    def learn(self, batch: Batch) -> None:
        """Take the paths of a container batch: create, seen, move and remove rows name them."""
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
        self._remove(ids[_removals(cast("Text", batch.columns["event"]))].tolist())

    def _remove(self, keys: Sequence[int]) -> None:
        self._removed |= dict.fromkeys(keys)
        while len(self._removed) > self._late:
            self._known.pop(self._removed.popitem(last=False)[0], None)

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
        """container, cgroup_path, runtime, pod_uid and claimed of each row, from its cgroup_id: nobody has confirmed a path yet."""
        ids = cast("Fixed", batch.columns["cgroup_id"]).values
        tells = "cgroup_path" in batch.columns  # its records are about cgroups
        codes, found = distinct(ids)
        rows = [self.cgroups.words(key) for key in found]
        for place, name in enumerate(_FIELDS):
            batch.columns[name] = named(codes, [row[place] for row in rows])
        if not tells:
            batch.columns["claimed"] = _claims(codes, rows)

    def binaries(self, batches: Sequence[Batch]) -> None:
        """exe of forks (their parent's) and exits (their own), which the records do not carry.

        `batches` of processes that were taken at once are followed together: an exec may come by the urgent ring and what its
        process did afterwards by the ordinary one.
        """
        columns: list[dict[str, Any]] = [dict(batch.columns) for batch in batches]
        if not columns:
            return
        ids = {word: _joined([one[name].values for one in columns]) for word, name in _IDS.items()}
        exe = _joined_texts([one["exe"] for one in columns])
        events = _joined([_codes(one["event"], _EVENTS, _OTHER) for one in columns])
        order = _in_time([one["ktime"].values for one in columns])
        codes = self.images.follow(order, events, offsets=exe.offsets, data=exe.data, **ids)
        begins = np.cumsum([batch.length for batch in batches[:-1]])
        for batch, some in zip(batches, np.split(codes, begins), strict=True):
            if len(self.images.paths):
                batch.columns["exe"] = named(some, self.images.paths)

    def owners(self, batch: Batch) -> None:
        """exe of rows that name a process and do not carry its binary: of the image that it was."""
        columns: dict[str, Any] = batch.columns
        codes = self.images.find(*(columns[f"exec_{part}"].values for part in ("tgid", "start", "number")))
        batch.columns["exe"] = named(codes, self.images.paths)


def _claims(codes: NDArray[Any], rows: Sequence[Sequence[bytes]]) -> Fixed:
    """True where a cgroup's path names a container or a pod, else null."""
    inside = np.array([bool(row[0] or row[3]) for row in rows] or [False])[codes]
    return Fixed(inside.astype(np.uint8), None if inside.all() else inside)


def _in_time(times: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """Places of all rows, each batch in its own order, merged by time: what is told late stays behind what it came behind."""
    if len(times) == 1:
        return np.arange(len(times[0]))
    return np.argsort(np.concatenate([np.maximum.accumulate(one) for one in times]), kind="stable")


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _joined_texts(texts: Sequence[Text]) -> Text:
    """The same rows in one; which are null is left out."""
    if len(texts) == 1:
        return texts[0]
    lengths = np.concatenate([np.diff(one.offsets) for one in texts])
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return Text(offsets, np.concatenate([one.data[one.offsets[0] : one.offsets[-1]] for one in texts]))


def _removals(event: Text) -> NDArray[np.bool_]:
    """Whether each row of `container` is a removal."""
    found: NDArray[np.bool_] = _codes(event, {b"remove": 1}, 0) == 1
    return found


def _codes(event: Text, words: Mapping[bytes, int], other: int) -> NDArray[np.uint8]:
    """words[word] of each row, `other` for words that are not among them; these have 8 letters at most."""
    padded = np.concatenate((event.data, np.zeros(8, dtype=np.uint8)))
    eight: NDArray[np.uint64] = np.ndarray(len(padded) - 7, "<u8", padded, strides=(1,))
    lengths = np.minimum(np.diff(event.offsets), len(_LETTERS) - 1)
    numbers = eight[event.offsets[:-1]] & _LETTERS[lengths]
    found = np.full(len(event), other, dtype=np.uint8)
    for word, code in words.items():
        found[numbers == int.from_bytes(word, "little")] = code
    return found


def named(codes: NDArray[Any], words: list[bytes]) -> Text:
    """words[code] of each row, null where the word is empty or the code negative."""
    places, used = distinct(codes)
    array, lengths = worded([words[code] if code >= 0 else b"" for code in used] or [b""])
    found = spread(places, array, lengths)
    if not lengths.all():
        valid = lengths[places] > 0
        found.valid = None if valid.all() else valid
    return found
