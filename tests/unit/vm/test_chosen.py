"""Which virtual machines a run boots."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.vm import chosen, kernels
from tests.vm.chosen import ALL, LANDING, ONE


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with what the boots prove."""
    for name in ("kernel/a.c", "src/firsthand/probe/a.py", "tests/vm/a.py", "src/firsthand/ask/a.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(name)
    (tmp_path / ".gitignore").write_text("*.o\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize("name", ["kernel/a.c", "src/firsthand/probe/a.py", "tests/vm/a.py", "kernel/new.h"])
def test_what_the_boots_prove_is_their_content(checkout: Path, name: str) -> None:
    """Law: any change below kernel/, src/firsthand/probe/ and tests/vm, committed or not, is another content; no other change is."""
    before = chosen.content(checkout)
    (checkout / "src/firsthand/ask/a.py").write_text("changed")
    (checkout / "kernel/a.o").write_text("compiled")
    assert chosen.content(checkout) == before
    (checkout / name).write_text("changed")
    changed = chosen.content(checkout)
    assert changed != before
    (checkout / name).rename(checkout / f"{name}.moved")
    assert chosen.content(checkout) not in (before, changed)


def test_two_boots_only_where_all_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a landing makes all eight until they passed with this very content; a bare machine has nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels.package.cache_clear()
    monkeypatch.setenv("FIRSTHAND_BOOTS", "landing")
    assert chosen.boots() == ALL and len(ALL) == 8
    chosen.passed()
    assert chosen.boots() == LANDING
    monkeypatch.setattr(chosen, "_PROVEN", ("kernel",))
    assert chosen.boots() == ALL


def test_two_boots_have_both_kernels_and_both_versions() -> None:
    """Law: 6.1 with v1 and 6.12 with v2; one boot is one of them."""
    assert {(one.series, one.mode) for one in LANDING} == {("6.1", "v1"), ("6.12", "v2")}
    assert set(ONE) < set(LANDING) < set(ALL)


def test_nothing_said_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: fewer are an explicit wish, and an unknown word is an error."""
    monkeypatch.delenv("FIRSTHAND_BOOTS", raising=False)
    assert chosen.boots() == ALL
    monkeypatch.setenv("FIRSTHAND_BOOTS", "one")
    assert chosen.boots() == ONE
    monkeypatch.setenv("FIRSTHAND_BOOTS", "two")
    with pytest.raises(ValueError, match="one, landing or all, not 'two'"):
        chosen.boots()
