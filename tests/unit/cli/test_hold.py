"""`firsthand hold` and `firsthand usage` as they are typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from firsthand.cli.usage import size
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.settings.sections.retention import Limits
from tests import samples
from tests.asking import run_on

DAY = 86_400_000_000


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty days were observed; of those of the first ten, retention let all rows go."""
    place = tmp_path_factory.mktemp("history")
    old = samples.START - 40 * DAY
    with LogWriter(place, "node-1", "b") as writer:
        writer.append([samples.observed(old, samples.START + DAY, every=10 * DAY)], [])
        writer.append([samples.process_lives(100, start=old), samples.process_lives(100, first=100)], [])
    keeper = Keeper(place, limits=Limits(30, 1 << 40, 0, 365), now=lambda: samples.START / 1e6 + 3_600)
    keeper.pass_once()
    keeper.tidy()
    keeper.close()
    return place


def test_a_hold_from_beginning_to_end(history: Path) -> None:
    """Law: what is added is listed with all its words, shown by usage (with the row of `loss`), and goes by its id."""
    added = run_on(
        history, "hold", "add", "--since", "2026-03-01", "--until", "2026-03-02", "-n", "shop", "case 7: \x1b[2J"
    )
    assert (added.returncode, added.stdout) == (0, "hold 1: 75 process rows are held\n"), added
    (row,) = json.loads(run_on(history, "hold", "list", "--json").stdout)
    assert (row["since"], row["until"]) == ("2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00.000Z")
    assert (
        (row["namespace"], row["pod"], row["reason"]) == ("shop", None, "case 7: \x1b[2J") and row["by"] and row["at"]
    )
    listed = run_on(history, "hold", "list").stdout
    assert "case 7: \\x1b[2J" in listed and "\x1b" not in listed
    assert "holds    1 have 76 rows" in run_on(history, "usage").stdout
    assert run_on(history, "hold", "remove", "1").returncode == 0
    assert run_on(history, "hold", "list").stdout == "no holds\n"


def test_a_hold_on_what_is_gone_says_so(history: Path) -> None:
    """Law: a span of which rows were let go, or that nobody observed, is held, and what is missing of it is said."""
    gone = run_on(
        history, "hold", "add", "--since", "2026-01-20", "--until", "2026-01-21", "-n", "shop", "too late"
    ).stdout
    assert (
        re.match(r"hold \d+: 0 process rows", gone)
        and "no longer held: retention removed 75 rows of namespace shop" in gone
    )
    host = run_on(history, "hold", "add", "--since", "2026-01-20", "-n", "(host)", "late").stdout
    assert re.match(r"hold \d+: 85 process rows", host) and "65 rows of the host" in host
    before = run_on(
        history, "hold", "add", "--since", "2025-01-01", "--until", "2025-01-02", "--pod", "x", "never"
    ).stdout
    assert "the history begins at" in before


def test_a_namespace_that_is_not_held_is_refused(history: Path) -> None:
    """Law: of a namespace without rows nothing is answered, least of all "No"."""
    done = run_on(history, "ask", "processes", "-n", "other", "--until", "2026-03-01T13:00Z", "--json")
    assert (done.returncode, done.stdout) == (2, "") and "other is in this history" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["processes", "-n", "shop"], True),
        (["processes", "-n", "shop", "--since", "2026-02-25"], False),
        (["privileged", "-n", "shop", "--since", "2026-02-25"], True),
    ],
)
def test_answers_say_what_is_no_longer_held(history: Path, words: list[str], said: bool) -> None:
    """Law: an answer over a time and namespace of which rows were let go says so, others do not; who still runs from before may be
    concerned as well."""
    found = json.loads(run_on(history, "ask", *words, "--until", "2026-03-01T13:00Z", "--json").stdout)["completeness"]
    assert (
        any(text.startswith("no longer held: retention removed 75 rows of namespace shop") for text in found["reasons"])
        is said
    )
    assert found["events_lost"] == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["hold", "add", " "], 2, "needs a REASON"),
        (["hold", "add", "--since", "1d", "--until", "2d", "r"], 2, "ends before it begins"),
        (["hold", "add", "--until", "soon", "r"], 2, "is no time"),
        (["hold", "remove", "77"], 2, "no hold 77"),
    ],
)
def test_wrong_words(history: Path, words: list[str], code: int, message: str) -> None:
    """Law: they make no hold, and the message says what to write."""
    found = run_on(history, *words)
    assert found.returncode == code and message in found.stderr


def test_where_there_is_no_history(tmp_path: Path) -> None:
    """Law: nothing is made there."""
    for words in (["hold", "add", "r"], ["hold", "list"], ["usage"]):
        found = run_on(tmp_path / "none", *words)
        assert found.returncode == 1 and "there is no history here" in found.stderr
    assert not (tmp_path / "none").exists()


def test_usage(history: Path) -> None:
    """Law: the sheet names the bytes, the rate and each namespace; an estimate is called one."""
    shown = run_on(history, "usage").stdout
    assert "of 20 GB in segments" in shown and "\nshop " in shown and "estimate" not in shown
    assert "/usr/bin/curl" in (text := run_on(history, "usage", "--by", "binary").stdout) and "estimate" in text
    found = json.loads(run_on(history, "usage", "--by", "table", "--json").stdout)
    assert {row["table"] for row in found["rows"]} == {"process", "observer", "loss"}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (1_234_567, "1.23 MB"), (20 * 10**9, "20 GB"), (999_900, "1000 kB")],
)
def test_sizes(number: int, text: str) -> None:
    """Law: three digits and a unit."""
    assert size(number) == text
