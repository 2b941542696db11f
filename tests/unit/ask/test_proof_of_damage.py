"""Answers from a history of which a part cannot be read: whichever part it is, they say so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Request, answer
from firsthand.ask.registry import QUESTIONS
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from firsthand.schema.tables import KEPT
from firsthand.wire.batch import Batch
from tests import histories, samples

_NOW = datetime.fromtimestamp(samples.START / 1_000_000 + 60, UTC)
_ROW: dict[str, dict[str, Any]] = {
    "process": {"event": "exec", "exe": "/bin/true"},
    "connection": {"event": "connect", "transport": "tcp", "peer_address": "192.0.2.7"},
    "name": {"event": "question", "name": "example.com"},
    "request": {"event": "tls", "sni": "example.com"},
    "container": {"event": "named", "container": "c" * 64, "since": samples.START},
    "pod": {"event": "named", "pod": "web", "namespace": "shop", "pod_uid": "u"},
    "address": {"event": "held", "kind": "service", "address": "192.0.2.8"},
    "mount": {"event": "mount", "target": "/mnt"},
    "file": {"event": "open", "path": "/etc/shadow"},
    "content": {"event": "round", "until": samples.START},
}


def _keep(directory: Path) -> None:
    histories.keep(directory, linger=0)


def _damage(directory: Path, table: str) -> None:
    for path in (directory / "current").resolve().glob(f"{table}/*/*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("question", [name for name, one in QUESTIONS.items() if not one.takes[0]])
def test_damage_of_each_needed_table_is_a_reason(tmp_path: Path, question: str) -> None:
    """Law: whichever of the tables that a question needs cannot be read, the answer says so, though it reads the table last."""
    common = {"node": samples.NODE, "boot": samples.BOOT, "time": samples.START, "ktime": samples.KTIME}
    needed = [table for table in QUESTIONS[question].needs if table in KEPT and table not in ("observer", "loss")]
    histories.write(tmp_path, samples.observed(), *(Batch.from_rows(table, [common | _ROW[table]]) for table in needed))
    _keep(tmp_path)
    for table in needed:
        _damage(tmp_path, table)
    reasons = answer(History(tmp_path), Request(question), _NOW).completeness.reasons
    for table in needed:
        assert any(f"a segment of {table} is left out" in reason for reason in reasons), table


def test_a_name_that_may_be_in_what_is_damaged(tmp_path: Path) -> None:
    """Law: that a name was never seen is not said without what could not be read."""
    histories.write(tmp_path, samples.observed(), samples.process_lives(3))
    _keep(tmp_path)
    with pytest.raises(UsageError, match="no pod named web is in this history") as whole:
        answer(History(tmp_path), Request("processes", pod="web"), _NOW)
    assert "cannot be read" not in str(whole.value)
    _damage(tmp_path, "process")
    with pytest.raises(UsageError, match="a part of the history cannot be read: a segment of process is left out"):
        answer(History(tmp_path), Request("processes", pod="web"), _NOW)
