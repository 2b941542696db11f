"""Streams are put together from packets whatever their order, their cuts and their repetitions."""

from __future__ import annotations

import itertools
import random

import pytest

from firsthand.dissect import stream
from firsthand.dissect.stream import Messages, Pieces
from tests import packets

_MESSAGES = [
    packets.question("a.example."),
    packets.question("b.example.", "AAAA"),
    packets.question("c.example.", "TXT"),
]
_WHOLE = packets.prefixed(*_MESSAGES)


def _read(parts: list[tuple[int, bytes, int]]) -> list[tuple[bytes, int]]:
    """Messages of packets (offset, payload, true length)."""
    pieces, messages = Pieces(), Messages()
    found = []
    for offset, payload, length in parts:
        for fresh, missing in pieces.take(offset, payload, length):
            found += list(messages.take(fresh, missing))
    return found


def _part(begin: int, end: int) -> tuple[int, bytes, int]:
    return begin, _WHOLE[begin:end], end - begin


@pytest.mark.parametrize("first", range(1, len(_WHOLE)))
def test_every_cut_in_two_in_both_orders(first: int) -> None:
    """Two segments, the later one first as well."""
    parts = [_part(0, first), _part(first, len(_WHOLE))]
    for order in itertools.permutations(parts):
        assert [wire for wire, _ in _read(list(order))] == _MESSAGES


def test_random_cuts_in_random_order_with_repetitions() -> None:
    """Up to 12 segments, shuffled within what waits, some sent again with other bounds: each byte once."""
    chance = random.Random(7)
    for _ in range(500):
        cuts = sorted({0, len(_WHOLE), *(chance.randrange(len(_WHOLE)) for _ in range(chance.randrange(12)))})
        parts = [_part(a, b) for a, b in itertools.pairwise(cuts)]
        again = [
            _part(a, min(a + chance.randrange(1, 40), len(_WHOLE))) for a in chance.choices(range(len(_WHOLE)), k=3)
        ]
        parts += again
        chance.shuffle(parts)
        assert [wire for wire, _ in _read(parts)] == _MESSAGES


def test_offsets_wrap() -> None:
    """A connection that has carried 4 GiB goes on."""
    pieces = Pieces()
    pieces.next = 0xFFFFFFFE
    found = list(pieces.take(0xFFFFFFFE, b"ab", 2)) + list(pieces.take(0, b"cd", 2))
    assert found == [(b"ab", 0), (b"cd", 0)]


def test_a_message_that_was_copied_in_part_ends_where_it_says() -> None:
    """What of it is there is told with its true length, and the next one is found."""
    long = packets.answer(
        packets.question("x.example.", "TXT"), ("x.example.", 5, "TXT", [f'"{i:0250}"' for i in range(30)])
    )
    whole = packets.prefixed(long, _MESSAGES[0])
    cut = whole[:4095]
    found = _read([(0, cut, len(long)), (len(long), whole[len(long) :], len(whole) - len(long))])
    assert found[0] == (long[:4093], len(long)) and found[1] == (_MESSAGES[0], len(_MESSAGES[0]))


def test_a_place_that_is_not_known_any_more_is_said() -> None:
    """The next message's length was in what was not copied: nothing is guessed from then on."""
    pieces, messages = Pieces(), Messages()
    for fresh, missing in pieces.take(0, _WHOLE[:20], len(_WHOLE) + 100):
        assert len(list(messages.take(fresh, missing))) == 1
    assert messages.lost
    for fresh, missing in pieces.take(len(_WHOLE) + 100, _WHOLE, len(_WHOLE)):
        assert not list(messages.take(fresh, missing))


def test_a_long_message_is_read_in_part_and_passed_over() -> None:
    """Over 16 KiB: its beginning, and then the next one."""
    long = bytes(50_000)
    found = _read([(0, packets.prefixed(long, _MESSAGES[1]), 2 + 50_000 + 2 + len(_MESSAGES[1]))])
    assert found == [(bytes(stream.MESSAGE), 50_000), (_MESSAGES[1], len(_MESSAGES[1]))]


def test_what_waits_is_bounded() -> None:
    """Segments that are ahead for ever take no more than is stated."""
    pieces = Pieces()
    for number in range(1000):
        assert not list(pieces.take(10 + 5000 * number, bytes(4095), 4095))
    assert pieces.waiting <= stream.AHEAD_BYTES


def test_the_rest_of_a_stream_is_told_once() -> None:
    """Half a message that nothing follows."""
    messages = Messages()
    assert not list(messages.take(_WHOLE[:10], 0))
    assert messages.rest() == (_WHOLE[2:10], len(_MESSAGES[0])) and messages.rest() is None
    assert not list(messages.take(_WHOLE[10 : 2 + len(_MESSAGES[0])], 0))
    assert [wire for wire, _ in messages.take(packets.prefixed(_MESSAGES[2]), 0)] == [_MESSAGES[2]]
