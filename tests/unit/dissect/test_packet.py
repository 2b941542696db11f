"""dissect/packet.py: whose a packet is, and the bounded tables between packets."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from firsthand.dissect.packet import Packet, Recent, Streams
from tests import packets


@dataclass
class OpenStream:
    """A stream of so many bytes, which began with a packet."""

    size: int
    first: Packet | None = None


def test_whose_a_packet_is() -> None:
    """The pod's, else the network namespace's; what was given to libssl is another stream than what went out."""
    one = packets.packet(b"", pod_uid="uid", ns_net=5, direction="out", packet_kind="head")
    assert one.who == "uid" and one._replace(pod_uid="").who == "5"
    others = [one, one._replace(kind="plain"), one._replace(direction="in"), one._replace(cookie=8)]
    assert len({other.stream for other in others}) == 4


def test_the_longest_untouched_goes() -> None:
    """At most so many; one that is touched again is young."""
    streams: Streams[OpenStream] = Streams(2, 1 << 20)
    made = [OpenStream(1) for _ in range(3)]
    assert [list(streams.put((number, "out"), made[number])) for number in (0, 1, 0)] == [[], [], []]
    assert list(streams.put((2, "out"), made[2])) == [made[1]]
    assert streams.get((1, "out")) is None and streams.get((0, "out")) is made[0] and len(streams) == 2


def test_bytes_are_bounded_but_one_may_be_alone() -> None:
    """A stream that alone is larger stays: it has its own bound; a stream that grew is counted anew."""
    streams: Streams[OpenStream] = Streams(10, 100)
    large = OpenStream(500)
    assert list(streams.put((0, "out"), large)) == [] and streams.bytes == 500
    small = OpenStream(5)
    assert list(streams.put((1, "out"), small)) == [large] and streams.bytes == 5
    small.size = 90
    assert list(streams.put((1, "out"), small)) == [] and streams.bytes == 90
    assert streams.drop((1, "out")) is small and (streams.bytes, len(streams)) == (0, 0)


@given(
    touched=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), max_size=40),
    most=st.integers(1, 4),
    most_bytes=st.integers(1, 150),
)
def test_the_bounds_hold_at_each_moment(touched: list[tuple[int, int]], most: int, most_bytes: int) -> None:
    """The number of bytes is that of the open entries. Each entry that was dropped is returned once."""
    streams: Streams[OpenStream] = Streams(most, most_bytes)
    there: dict[int, OpenStream] = {}
    for number, size in touched:
        one = there.setdefault(number, OpenStream(0))
        one.size = size
        for gone in streams.put((number, "out"), one):
            assert gone in there.values()
            there = {key: other for key, other in there.items() if other is not gone}
        assert len(streams) == len(there) <= most and streams.bytes == sum(other.size for other in there.values())
        assert streams.bytes <= most_bytes or len(streams) == 1


def test_what_waits_too_long() -> None:
    """Streams whose unread bytes began before a moment; one that has none waits for nothing. They may be dropped meanwhile."""
    streams: Streams[OpenStream] = Streams(10, 100)
    for number, ktime in enumerate((5, 10, None)):
        first = None if ktime is None else packets.packet(b"")._replace(ktime=ktime)
        list(streams.put((number, "out"), OpenStream(1, first)))
    late = []
    for key, _ in streams.late(10):
        late.append(key)
        streams.drop(key)
    assert late == [(0, "out")] and len(streams) == 2


def test_recent_forgets_the_oldest_and_counts_it() -> None:
    """The value that had to go is given; one that is put again is young."""
    recent = Recent(2)
    assert [recent.put(key, key.upper()) for key in "abac"] == [None, None, None, "B"]
    assert (list(recent), recent.gone) == (["a", "c"], 1)
