"""schema/flags.py: one list of flags, derived alike for the live view and for SQL."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from firsthand.schema import flags
from tests.samples import ORDINARY
from tests.scenes import HOST, Scene


def _forms() -> list[dict[str, Any]]:
    """Every way in which the columns can stand that flags are derived from."""
    words = (None, "SETUID", "MEMFD", "DELETED,SCRIPT", "RUNTIME", "ARGS_TRUNCATED")
    programs = (
        ("/bin/sh", ["sh"], "pipe"),
        ("/bin/sh", ["sh", "x"], "pipe"),
        ("/bin/cat", ["cat"], "pipe"),
        ("/bin/sh", ["sh"], "null"),
    )
    sets = ((ORDINARY, False), (ORDINARY | 1 << 21, True))
    return [
        {"flag_names": word, "exe": exe, "args": args, "stdin": stdin, "cap_permitted": held, "redacted": redacted}
        for word, (exe, args, stdin), (held, redacted) in itertools.product(words, programs, sets)
    ]


def test_sql_and_the_live_view_derive_alike(tmp_path: Path) -> None:
    """Law: for every form of a row, on the host and in a container, the view's `marks` are the words of the live view."""
    scene = Scene()
    scene.observed(-1, 10_000)
    pod = scene.pod("web-1", "10.244.0.1", 0)
    rows = []
    for number, (form, inside) in enumerate(itertools.product(_forms(), (False, True))):
        row = (pod.row if inside else HOST) | form | {"exec_tgid": number, "exec_start": number, "exec_number": 1}
        rows.append(scene.add("process", float(number), event="exec", **row))
    with History(scene.write(tmp_path / "history")).connection() as connection:
        found = connection.execute("SELECT marks FROM process ORDER BY ktime").fetchall()
    expected = [",".join(flags.of(row, ORDINARY)) or None for row in rows]
    assert [row[0] for row in found] == expected
    assert {word for words in expected if words for word in words.split(",")} >= set(flags.DERIVED)


def test_the_list_is_whole() -> None:
    """Law: what the live view shows is in the list; what is in no list is refused; docs/flags.md tells each."""
    assert set(flags.SHOWN) <= set(flags.known()) and flags.checked("setuid, fileless") == {"SETUID", "FILELESS"}
    with pytest.raises(UsageError, match="no flag 'PRIVILEDGED'"):
        flags.checked("PRIVILEDGED")
    page = Path("docs/flags.md").read_text()
    assert [word for word in flags.known() if f"`{word}`" not in page] == []
