"""A packet as the dissector takes it, and the bounded tables of what it keeps between packets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

#: A row of `name` or `request`: its columns by name, and `packet`, the number of the packet that it is of.
Row = dict[str, Any]


class Packet(NamedTuple):
    """One packet of a socket: `number` among all of the line, `ktime` in ns, `length` the payload's true one."""

    number: int
    ktime: int
    cookie: int
    offset: int
    length: int
    ns_net: int
    pod_uid: str
    direction: str
    transport: str
    kind: str
    peer: str
    peer_port: int
    payload: bytes

    @property
    def who(self) -> str:
        """The pod, or the network namespace outside of pods."""
        return self.pod_uid or str(self.ns_net)

    @property
    def stream(self) -> tuple[int, str]:
        """The direction of a connection that it belongs to; what was given to libssl is another stream than what went out."""
        return self.cookie, f"{self.direction} {self.kind}"


class Bounded(Protocol):
    """A stream that is being put together: `first` is the packet that its unread bytes began with, None where there are none."""

    first: Packet | None

    @property
    def size(self) -> int:
        """Bytes that it holds."""


K = TypeVar("K", bound=Bounded)


class Streams(Generic[K]):
    """Open streams, the longest untouched first; at most `most` with `most_bytes` in all."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._open: OrderedDict[tuple[int, str], K] = OrderedDict()
        self._sizes: dict[tuple[int, str], int] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: tuple[int, str]) -> K | None:
        """The stream, if it is open."""
        return self._open.get(key)

    def put(self, key: tuple[int, str], stream: K) -> Iterator[K]:
        """A stream that was touched now; those that had to go for it."""
        self._open[key] = stream
        self._open.move_to_end(key)
        self.bytes += stream.size - self._sizes.get(key, 0)
        self._sizes[key] = stream.size
        while len(self._open) > self._most or (self.bytes > self._most_bytes and len(self._open) > 1):
            yield self.drop(next(iter(self._open)))

    def drop(self, key: tuple[int, str]) -> K:
        """Forget a stream that is open."""
        self.bytes -= self._sizes.pop(key, 0)
        return self._open.pop(key)

    def late(self, before: int) -> Iterator[tuple[tuple[int, str], K]]:
        """Streams whose unread bytes began before a moment (ns)."""
        found = [(key, one) for key, one in self._open.items() if one.first and one.first.ktime < before]
        yield from found


class Recent(OrderedDict[Any, Any]):
    """What was seen lately: at most `most` entries, the oldest goes. `gone` counts those that went."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.gone = 0

    def put(self, key: Any, value: Any) -> Any:
        """Remember; the value that had to go for it, or None."""
        self[key] = value
        self.move_to_end(key)
        if len(self) <= self._most:
            return None
        self.gone += 1
        return self.popitem(last=False)[1]
