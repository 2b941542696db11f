"""What an argument names: a pod, a container or `host`."""

from __future__ import annotations

from typing import Any


def condition(text: str) -> tuple[str, list[Any]]:
    """SQL for the rows of a pod (NAME, NAMESPACE/NAME or uid), a container (its id's beginning, or its name) or the host."""
    namespace, slash, name = text.rpartition("/")
    pod = ("(namespace = ? AND pod = ?)", [namespace, name]) if slash else ("(pod = ? OR pod_uid = ?)", [text, text])
    words = f"({pod[0]} OR container_name = ? OR starts_with(coalesce(container, 'host'), ?))"
    return words, [*pod[1], text, text]
