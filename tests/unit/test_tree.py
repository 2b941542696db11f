"""How the tree is kept: a class has one name, and each module has a test that mirrors it."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/firsthand"
#: Modules without a mirror, a line each. One that gets its test leaves the list, and nothing new comes in.
WITHOUT_MIRROR = {*Path(__file__).with_name("without_mirror.txt").read_text().split()}


def _classes() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for room in ("src", "tests", "deploy", "docs"):
        for path in (ROOT / room).rglob("*.py"):
            if path.name.endswith("_pb2.py"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(str(path.relative_to(ROOT)))
    return found


def test_a_class_has_a_name_of_its_own() -> None:
    """Law: a name stands for one class, in programs and tests."""
    assert {name: paths for name, paths in _classes().items() if len(paths) > 1} == {}


def _modules() -> list[str]:
    """Modules with something to run, as paths below the package without their ending."""
    paths = [path for path in PACKAGE.rglob("*.py") if not path.name.endswith("_pb2.py")]
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    some = [path for path in paths if any(isinstance(node, defined) for node in ast.parse(path.read_text()).body)]
    return sorted(str(path.relative_to(PACKAGE).with_suffix("")) for path in some)


def _mirrors(module: str) -> list[Path]:
    """Where the test of a module may be: in a room of the tests, below the same folders; a package's has the package's name."""
    path = Path(module)
    names = [path.parent / f"test_{path.name}.py"]
    if path.name == "__init__":
        names = [path.parent / f"test_{path.parent.name}.py", path.parent.parent / f"test_{path.parent.name}.py"]
    return [ROOT / "tests" / room / name for room in ("unit", "kernel", "pods") for name in names]


@pytest.mark.parametrize("module", _modules())
def test_each_module_has_its_mirror(module: str) -> None:
    """Law: the test of src/firsthand/x/y.py is tests/unit/x/test_y.py. A listed module that has one leaves the list."""
    mirrored = any(path.is_file() for path in _mirrors(module))
    assert mirrored != (module in WITHOUT_MIRROR), "take it off the list" if mirrored else "write its test"


def test_the_list_names_modules() -> None:
    """One that was removed or renamed leaves the list."""
    assert {*_modules()} >= WITHOUT_MIRROR
