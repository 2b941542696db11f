"""What an argument names: a pod, a container, `host`, or a process."""

from __future__ import annotations

import re
from typing import Any

_DIGITS = 6
_BEGINNING = re.compile(f"[0-9a-f]{{{_DIGITS},64}}")


def condition(text: str) -> tuple[str, list[Any]]:
    """SQL for the rows of a pod (NAME, NAMESPACE/NAME or uid), a container (its id's beginning, or its name) or the host."""
    namespace, slash, name = text.rpartition("/")
    pod = ("(namespace = ? AND pod = ?)", [namespace, name]) if slash else ("(pod = ? OR pod_uid = ?)", [text, text])
    inside, values = ("container IS NULL", list[Any]()) if text == "host" else of_container("container", text)
    return f"({pod[0]} OR container_name = ? OR {inside})", [*pod[1], text, *values]


def of_container(column: str, text: str) -> tuple[str, list[Any]]:
    """SQL for the rows of a container by its id, or by the beginning of it from _DIGITS digits on: a shorter one can be a name's letters, and
    the id of any other container can begin so."""
    if _BEGINNING.fullmatch(text):
        return f"starts_with({column}, ?)", [text]
    return f"{column} = ?", [text]


def image(key: str, who: str = "exec") -> tuple[str, list[Any]]:
    """SQL for the rows of a program image (`who` is `parent`: of its children) by its exec_id's numbers; by the text where it is none."""
    boot, *numbers = key.split(":")
    if len(numbers) != 3 or not all(_number(one) for one in numbers):
        return f"{who if who == 'exec' else 'parent_exec'}_id = ?", [key]
    words = f"{who}_start = ? AND {who}_tgid = ? AND {who}_number = ? AND substr(boot, 1, 8) = ?"
    return words, [int(numbers[1]), int(numbers[0]), int(numbers[2]), boot]


def _number(text: str) -> bool:
    """Whether it is spelled as a number of SQL's BIGINT is."""
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and int(text) < 1 << 63
