"""errors.py: one tree, drawn as it is, with exit codes that scripts rely on."""

from __future__ import annotations

import inspect
import re

from firsthand import errors
from firsthand.errors import FirsthandError


def _classes() -> dict[str, type[FirsthandError]]:
    return {name: one for name, one in vars(errors).items() if inspect.isclass(one) and issubclass(one, FirsthandError)}


def test_the_tree_at_the_top_is_the_tree() -> None:
    """Each class stands once in the drawing, below the one that it is of."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^((?:[| ]  )*(?:[|`]- )?)(\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 3
            above[depth:] = [found[2]]
            drawn[found[2]] = above[depth - 1] if depth else "Exception"
    assert drawn == {name: one.__base__.__name__ for name, one in _classes().items() if one.__base__}


def test_exit_codes() -> None:
    """1 for what failed, 2 for words that are wrong, 3 for what had to be complete: those that stand beside the names."""
    codes = {name: one.exit_code for name, one in _classes().items()}
    assert codes == dict.fromkeys(codes, 1) | {"UsageError": 2, "IncompleteError": 3}
    for name, code in re.findall(r"(\w+Error) +exit (\d)", errors.__doc__ or ""):
        assert codes[name] == int(code)


def test_who_catches_what() -> None:
    """A damaged history is one that cannot be read; a kernel that lacks something is a probe's failure. No built-in is among them."""
    assert issubclass(errors.DamagedError, errors.HistoryError) and issubclass(errors.BusyError, errors.ProbeError)
    assert not any(issubclass(one, (OSError, ValueError, RuntimeError)) for one in _classes().values())
