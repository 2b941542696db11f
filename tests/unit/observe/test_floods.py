"""observe/floods.py: who flooded a ring stands in the largest loss of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.observe import floods
from firsthand.observe.floods import Floods
from firsthand.observe.source import Lost
from firsthand.probe import stats
from firsthand.probe.loaded import Loaded
from firsthand.probe.stats import Flood

PATHS = {7: "/pods/a"}


def gap(ring: int, cpu: int = 0, detail: str = "", events: int = 5) -> Lost:
    """A loss of a ring."""
    return Lost("sequence_gap", events, 0.0, 1.0, detail, cpu, ring)


class HeldBack:
    """What the map has, which a test changes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.floods: list[Flood] | OSError = []
        patch.setattr(stats, "floods", self._found)

    def _found(self, loaded: Loaded) -> list[Flood]:
        if isinstance(self.floods, OSError):
            raise self.floods
        return self.floods


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldBack:
    """An empty map."""
    return HeldBack(monkeypatch)


def begun(looked: int = 0) -> Floods:
    """Of a reader that follows one which looked then."""
    return Floods(Loaded(Path("/nowhere"), -1, {}), lambda cgroup: PATHS.get(cgroup, ""), looked)


def test_the_largest_loss_of_a_ring_says_who(held: HeldBack) -> None:
    """Behind what it says itself; others of the ring, other rings and other causes say nothing of it."""
    found = begun()
    held.floods = [Flood(7, 11, 0, b"sh", 1_200, 100)]
    losses = [Lost("malformed", 1, 0.0, 1.0, "x"), gap(1), gap(0, 1), gap(0, 0, "reserve failed 3 times", 6)]
    assert [loss.detail for loss in found.explained(losses)] == [
        "x",
        "",
        "",
        'reserve failed 3 times, held back in a flood: 1,200 of "sh" (parent 11) in "/pods/a"',
    ]


def test_each_is_told_once(held: HeldBack) -> None:
    """A row names only what was held back since the row before. An entry that the map made anew counts from zero."""
    found = begun()
    held.floods = [Flood(7, 11, 0, b"sh", 10, 100)]
    assert '10 of "sh"' in found.explained([gap(0)])[0].detail
    assert found.explained([gap(0)])[0].detail == ""
    held.floods = [Flood(7, 11, 0, b"sh", 25, 100)]
    assert '15 of "sh"' in found.explained([gap(0)])[0].detail
    held.floods = [Flood(7, 11, 0, b"sh", 4, 100)]
    assert '4 of "sh"' in found.explained([gap(0)])[0].detail


def test_without_a_gap_nothing_is_read(held: HeldBack) -> None:
    """Records that were held back show as a gap at a later look; that row names who."""
    found = begun()
    held.floods = OSError("not to be asked")
    lost = Lost("malformed", 1, 0.0, 1.0, "x")
    assert found.explained([lost]) == [lost]
    held.floods = [Flood(7, 11, 0, b"sh", 10, 100)]
    assert '10 of "sh"' in found.explained([gap(0)])[0].detail


def test_the_most_are_named_and_the_others_summed(held: HeldBack) -> None:
    """A cgroup without a known path has its id; bytes that are no text, and letters that end a name, are escaped."""
    held.floods = [Flood(9, number, 0, b'p\xff" (', number, 100) for number in (1, 2, 3, 4, 5)]
    found = begun()
    words = found.explained([gap(0)])[0].detail
    assert words == (
        r"""held back in a flood: 5 of "p\\xff\" (" (parent 5) in cgroup 9, 4 of "p\\xff\" (" (parent 4) in cgroup 9, """
        r"""3 of "p\\xff\" (" (parent 3) in cgroup 9, 3 of others"""
    )
    assert words.count("parent") == floods.MOST
    assert found.held_back == 15


def test_a_kernel_that_refuses_leaves_the_losses(held: HeldBack) -> None:
    """Their numbers do not come from the map."""
    held.floods = PermissionError(1, "refused")
    assert begun().explained([gap(0)]) == [gap(0)]


@pytest.mark.parametrize(("looked", "said"), [(100, False), (99, True)])
def test_a_take_over_names_who_was_not_named(held: HeldBack, looked: int, said: bool) -> None:
    """The map goes on: what was held back before the reader before looked was its to say, what came since is not."""
    held.floods = [Flood(7, 11, 0, b"sh", 10, 100)]
    assert ('10 of "sh"' in begun(looked).explained([gap(0)])[0].detail) is said
