"""confine/roles.py: one row says all that is declared of a role."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from firsthand.confine import wall
from firsthand.confine.roles import FIRST_NUMBER, LOCKS, OWNERS, ROLES

ROOT = Path(__file__).parents[3]


def test_numbers_are_those_of_histories_that_exist() -> None:
    """Law: a role's number never changes and none is used twice: it owns files in histories of before."""
    held = {"observer": FIRST_NUMBER + 2, "keeper": FIRST_NUMBER + 3, "dissector": FIRST_NUMBER + 4}
    numbers = {role: row.number for role, row in ROLES.items() if row.number is not None}
    assert numbers.items() >= held.items() and len(set(numbers.values())) == len(numbers)
    assert min(numbers.values()) > FIRST_NUMBER
    with pytest.raises(KeyError):
        wall.number("loader")


@pytest.mark.parametrize("role", ROLES)
def test_the_module_is_a_process_and_no_more(role: str) -> None:
    """Law: roles/ROLE.py has a `main` that returns its exit code."""
    module = importlib.import_module(ROLES[role].module)
    assert module.__name__ == f"firsthand.roles.{role}"
    assert inspect.signature(module.main).return_annotation == "int"


def test_folders_and_locks_have_one_owner() -> None:
    """Law: a folder of a history is written by one role, a lock held by one."""
    assert len(OWNERS) == sum(len(row.writes) for row in ROLES.values())
    assert len(LOCKS) == 1 + sum(row.lock is not None for row in ROLES.values())


def test_nobody_else_says_what_a_role_is() -> None:
    """Law: no other source has a role's number or names its module."""
    sources = [*ROOT.glob("src/firsthand/**/*.py"), *ROOT.glob("deploy/**/*.py")]
    for path in sources:
        text = path.read_text()
        if path.name != "roles.py":
            assert "4_242_4" not in text and "42424" not in text, path
            assert f'"{"firsthand.roles."}' not in text, path
