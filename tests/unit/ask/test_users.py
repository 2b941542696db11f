"""Users of containers by the containers' own word: never by the machine's names, and never proof."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from firsthand.ask.answering import Answer, Request, answer
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from firsthand.host import machine
from tests.scenes import Scene

DAY = 86_400.0
ROOT = pwd.getpwuid(0).pw_name


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A pod that says its users' names, one that does not, and the host; in each user 0 and user 1000 ran a program."""
    scene = Scene(node=machine.node())
    scene.observed(-1, DAY)
    told, silent = scene.pod("told", "10.0.0.2"), scene.pod("silent", "10.0.0.3")
    for row in scene.rows["container"]:
        if row["container"] == told.container:
            row["users"] = ["0=boss", "1000=app"]
    for pod, name in ((told, "told"), (silent, "silent"), (None, "host")):
        for uid in (0, 1000):
            scene.process(pod, f"/bin/{name}-{uid}", uid=uid, at=5.0 + scene._number)
    scene.write(tmp_path / "h")
    return tmp_path / "h"


def _ask(history: Path, *conditions: str) -> Answer:
    return answer(History(history), Request("processes", conditions), Scene().at(DAY))


def _found(found: Answer) -> set[str]:
    return {row["exe"] for row in found.found.rows}


def test_a_containers_own_name(history: Path) -> None:
    """Law: it finds the container's process, says by whose word, and does not claim to be complete."""
    found = _ask(history, "user=app")
    assert _found(found) == {"/bin/told-1000"}
    reasons = " ".join(found.completeness.reasons)
    assert (
        "their containers' own /etc/passwd" in reasons
        and "give the number" in reasons
        and not found.completeness.complete
    )
    assert _found(_ask(history, "user!=app")) == {"/bin/told-0", "/bin/host-0", "/bin/host-1000"}


def test_the_machines_names_are_no_containers(history: Path) -> None:
    """Law: its user 0 is found on the host alone; the container's is called otherwise, and of the silent one nothing is known."""
    found = _ask(history, f"user={ROOT}")
    assert _found(found) == {"/bin/host-0"}
    assert "euid is not known of 2 more" in found.sentence or "user is not known of 2 more" in found.sentence
    assert _found(_ask(history, "user=boss")) == {"/bin/told-0"}


def test_a_name_that_nobody_has(history: Path) -> None:
    """Law: refused, with what was perhaps meant."""
    with pytest.raises(UsageError, match="no user 'bos' on this machine; did you mean boss"):
        _ask(history, "user=bos")


def test_by_number_there_is_nothing_to_doubt(history: Path) -> None:
    """Law: numbers are the kernel's."""
    found = _ask(history, "euid=1000")
    assert _found(found) == {"/bin/told-1000", "/bin/silent-1000", "/bin/host-1000"} and found.completeness.complete
