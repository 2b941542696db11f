"""`firsthand evidence` and `firsthand verify BUNDLE` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.asking import firsthand
from tests.unit.evidence import scene

SPAN = ("--since", "2026-05-01T12:00Z", "--until", "2026-05-01T12:01Z")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene.write(tmp_path_factory.mktemp("scene") / "history")


def test_from_question_to_proof(history: Path, tmp_path: Path) -> None:
    """Law: what is written is said with its digest, whose rows are inside as well is said on standard error, and it verifies."""
    file = tmp_path / "case.tar"
    made = firsthand("evidence", "--history", history, *SPAN, "--pod", "web", "-o", file)
    assert made.returncode == 0, made
    assert "rows of other pods and of the host are among them" in made.stderr
    head, digest = str(scene.head(history)), made.stdout.splitlines()[-1].split()
    assert digest[0] == "digest" and f"head     {head}" in made.stdout and "evidence complete" in made.stdout
    found = firsthand("verify", file, "--head", head, "--digest", digest[1])
    assert found.returncode == 0 and "whole: " in found.stdout and "proven   up to entry" in found.stdout
    wrong = firsthand("verify", file, "--digest", "0" * 64, "--json")
    assert wrong.returncode == 1 and "another bundle" in json.loads(wrong.stdout)["damage"][0]


def test_for_programs(history: Path, tmp_path: Path) -> None:
    """Law: the same as JSON, and no word of others where no segment is inside."""
    made = firsthand(
        "evidence", "--history", history, *SPAN, "-n", "shop", "--rows-only", "--json", "-o", tmp_path / "b.tar"
    )
    assert made.returncode == 0 and made.stderr == ""
    told = json.loads(made.stdout)
    found = json.loads(firsthand("verify", tmp_path / "b.tar", "--json").stdout)
    assert found["whole"] and found["digest"] == told["digest"] and found["question"]["namespace"] == "shop"
    assert found["question"]["arguments"][:1] == ["--namespace shop"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["f-1234", *SPAN, "-o", "x.tar"], "'f-1234' names no finding: this version judges nothing"),
        (["-o", "x.tar"], "--since"),
        ([*SPAN], "-o FILE"),
        ([*SPAN, "-o", "none/x.tar"], "there is no folder none"),
        (["--since", "1d", "--until", "2d", "-o", "x.tar"], "ends before it begins"),
        (["--since", "soon", "-o", "x.tar"], "is no time"),
        ([*SPAN, "--rows-only", "--whole-days", "-o", "x.tar"], "give one of them"),
        ([*SPAN, "-l", "a b", "-o", "x.tar"], "expected KEY=VALUE"),
    ],
)
def test_wrong_words(history: Path, tmp_path: Path, words: list[str], message: str) -> None:
    """Law: wrong usage, with what to write; no file."""
    made = firsthand("evidence", "--history", history, *(str(tmp_path / w) if w == "x.tar" else w for w in words))
    assert made.returncode == 2 and message in made.stderr, made
    assert list(tmp_path.iterdir()) == []


def test_wrong_words_to_verify(history: Path, tmp_path: Path) -> None:
    """Law: a bundle is verified without a history, and only a bundle has a digest."""
    assert firsthand("verify", "x.tar", "--history", history).returncode == 2
    assert firsthand("verify", "--history", history, "--digest", "x").returncode == 2
    missing = firsthand("verify", tmp_path / "none.tar")
    assert missing.returncode == 1 and "cannot be read" in missing.stderr


def test_where_there_is_no_history(tmp_path: Path) -> None:
    """Law: nothing is made."""
    made = firsthand("evidence", "--history", tmp_path / "none", *SPAN, "-o", tmp_path / "x.tar")
    assert made.returncode == 1 and "there is no history here" in made.stderr
    assert list(tmp_path.iterdir()) == []
