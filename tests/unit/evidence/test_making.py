"""evidence/making.py: a bundle holds what proves its rows, and verifies where the history is not."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from firsthand.errors import HistoryError, UsageError
from firsthand.evidence import readme
from firsthand.evidence.checking import check
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import manifest
from firsthand.settings.sections.retention import Limits
from tests import histories, samples
from tests.unit.evidence import forged, scene


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return scene.write(tmp_path / "history")


def _json(members: forged.Members, name: str) -> Any:
    return json.loads(members[name])


def test_it_verifies_elsewhere(history: Path, tmp_path: Path) -> None:
    """Law: moved to another folder, with the history gone, it is whole, proven by the head, and nobody else may read it."""
    made = scene.bundle(history, tmp_path / "b.tar", pod="web")
    assert made.path.stat().st_mode & 0o777 == 0o600
    head = scene.head(history)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made.path.rename(elsewhere / "evidence.tar")
    shutil.rmtree(history)
    found = check(elsewhere / "evidence.tar", [head], made.digest)
    assert found.whole, found.damage
    assert (found.proven, found.rows) == (head.sequence, made.about.rows)
    assert [path.name for path in elsewhere.iterdir()] == ["evidence.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]


def test_the_same_question_makes_the_same_bytes(history: Path, tmp_path: Path) -> None:
    """Law: nothing of the machine, the clock or the folder is in it but what is said in bundle.json."""
    first, second = (scene.bundle(history, tmp_path / name, namespace="shop") for name in ("a.tar", "b.tar"))
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.digest == second.digest


def test_what_is_inside(history: Path, tmp_path: Path) -> None:
    """Law: question, node, kernel, version, head and completeness are told; every row names its file and its reason."""
    members = forged.unpack(scene.bundle(history, tmp_path / "b.tar", pod="web", arguments=("--pod web",)).path)
    about = _json(members, "bundle.json")
    assert about["question"]["pod"] == "web" and about["question"]["arguments"] == ["--pod web"]
    assert about["nodes"] == [{"node": scene.NODE, "boot": scene.BOOT, "kernel": "6.1.0 x86_64", "version": "0.1.0"}]
    assert about["head"] == str(scene.head(history))
    assert about["made_by"].keys() == {"version", "node", "kernel", "at"}
    assert _json(members, "completeness.json")["complete"] is True
    rows = pq.read_table(io.BytesIO(members["rows/process.parquet"])).to_pylist()
    assert {row["why"] for row in rows} == {"window", "lineage"}
    assert {row["source"] for row in rows} <= members.keys()


def test_what_is_incomplete_is_said(history: Path, tmp_path: Path) -> None:
    """Law: as `ask` would: losses and times that nobody observed, in the bundle and at its verifying."""
    made = scene.bundle(history, tmp_path / "b.tar", since=-600, until=300)
    found = check(made.path)
    assert found.whole and not found.complete
    assert any("2 events or values lost" in reason for reason in found.reasons)
    assert any("not recorded from 2026-05-01T12:02:10.000Z" in reason for reason in found.reasons)


def test_completeness_that_keeps_silent_is_found(history: Path, tmp_path: Path) -> None:
    """Law: what the bundle's own rows say against it cannot be left out of the judgement."""
    members = forged.unpack(scene.bundle(history, tmp_path / "b.tar", since=-600).path)
    forged.document(members, "completeness.json", lambda raw: raw.update(complete=True, reasons=[]))
    found = check(forged.pack(tmp_path / "f.tar", members))
    assert any("leaves out what its rows say: 2 events" in damage for damage in found.damage)


def test_rows_only(history: Path, tmp_path: Path) -> None:
    """Law: no segment and no chunk is inside, rows of others neither; what that leaves unproven is said."""
    made = scene.bundle(history, tmp_path / "b.tar", pod="web", segments=False)
    members = forged.unpack(made.path)
    assert not any(name.startswith(("segments/", "chunks/")) for name in members)
    pods = pq.read_table(io.BytesIO(members["rows/process.parquet"]))["pod"].unique().to_pylist()
    assert set(pods) == {"web", None}
    found = check(made.path, [scene.head(history)])
    assert found.whole, found.damage
    assert any("--rows-only" in what for what in found.unproven)
    forged.document(members, "sources.json", lambda raw: raw[:-1])
    assert any(
        "no source of this bundle" in damage for damage in check(forged.pack(tmp_path / "f.tar", members)).damage
    )


def test_whole_days_prove_that_nothing_was_left_out(history: Path, tmp_path: Path) -> None:
    """Law: with all segments of the days nothing is said to be unproven of that; without, how many are not here."""
    some = check(scene.bundle(history, tmp_path / "a.tar", pod="late").path, [scene.head(history)])
    assert any(what.startswith("that nothing was left out") for what in some.unproven)
    every = check(scene.bundle(history, tmp_path / "b.tar", pod="late", days=True).path, [scene.head(history)])
    assert not any(what.startswith("that nothing was left out") for what in every.unproven)
    assert every.whole and every.segments > some.segments and every.rows == some.rows


def test_a_segment_hidden_from_whole_days(history: Path, tmp_path: Path) -> None:
    """Law: one that is taken out of the sources is missed."""
    members = forged.unpack(scene.bundle(history, tmp_path / "b.tar", pod="late", days=True).path)
    used = set(pq.read_table(io.BytesIO(members["rows/process.parquet"]))["source"].to_pylist())
    gone = next(name for name in members if name.startswith("segments/clock") and name not in used)
    del members[gone]
    forged.document(members, "sources.json", lambda raw: [one for one in raw if one["name"] != gone])
    found = check(forged.pack(tmp_path / "f.tar", members))
    assert any("holds 1 more segments" in what for what in found.unproven)


def test_a_log_without_keeper(tmp_path: Path) -> None:
    """Law: what no keeper has taken over goes in as chunks, and everything is said to be unproven."""
    with LogWriter(tmp_path / "h", samples.NODE, samples.BOOT) as log:
        log.append([samples.observed(samples.START - 10_000_000)], [])
        log.append([samples.process_lives(20, start=samples.START)], [])
    began = (samples.START / 1e6) - scene.START.timestamp()
    made = scene.bundle(tmp_path / "h", tmp_path / "b.tar", since=began, until=began + 50)
    found = check(made.path)
    assert found.whole and found.rows["process"] == 60
    assert (found.segments, found.chunks, found.head) == (0, 2, None)
    assert any("the history had no chain" in what for what in found.unproven)


def test_what_is_damaged_is_left_out_and_said(history: Path, tmp_path: Path) -> None:
    """Law: a changed segment proves nothing: it is not in the bundle, the evidence is incomplete, and the bundle is whole."""
    root = (history / "current").resolve()
    one = next(path for path in root.rglob("process/**/*.parquet"))
    data = bytearray(one.read_bytes())
    data[len(data) // 2] ^= 1
    one.chmod(0o640)
    one.write_bytes(data)
    found = check(scene.bundle(history, tmp_path / "b.tar", pod="web").path)
    assert found.whole, found.damage
    assert not found.complete and any("a segment is left out" in reason for reason in found.reasons)


def test_a_manifest_that_is_damaged(history: Path, tmp_path: Path) -> None:
    """Law: the rows of the segments go in, and that nothing proves them is said."""
    (history / "manifest.db").write_bytes(b"no database" * 1000)
    found = check(scene.bundle(history, tmp_path / "b.tar", pod="web").path)
    assert any("no entry of the chain names" in damage for damage in found.damage)
    assert not found.complete and any("manifest.db is damaged" in reason for reason in found.reasons)


def test_a_segment_that_the_chain_does_not_know(history: Path, tmp_path: Path) -> None:
    """Law: somebody who put a segment into the manifest by hand is found by the bundle as well."""
    with sqlite3.connect(history / "manifest.db") as db:
        db.execute("DELETE FROM chain WHERE kind = 'merge'")
    db.close()
    assert not check(scene.bundle(history, tmp_path / "b.tar", pod="web").path).whole


def test_retention_leaves_its_word(history: Path, tmp_path: Path) -> None:
    """Law: what was let go is no longer there, is said, and the chain goes on over the tombstone."""
    days = [40.0]
    keeper = Keeper(history, limits=Limits(30, 1 << 40, 0, 365), now=lambda: scene.START.timestamp() + days[0] * 86_400)
    keeper.pass_once(last=True)
    keeper.tidy()  # a clock that went on while nobody looked is not believed for a day
    days[0] += 1.1
    keeper.tidy()
    keeper.close()
    made = scene.bundle(history, tmp_path / "b.tar", pod="web")
    found = check(made.path, [scene.head(history)])
    assert found.whole, found.damage
    assert any("no longer held" in reason for reason in found.reasons) and not found.complete


def test_a_checkpoint_is_far_enough_back(tmp_path: Path) -> None:
    """Law: a bundle's chain begins with the last checkpoint where the hand-overs were let go, and each segment has its entry."""
    with LogWriter(tmp_path / "h", samples.NODE, samples.BOOT) as log:
        keeper = Keeper(tmp_path / "h", kept=4)
        for number in range(15):
            log.append([samples.process_lives(4, start=samples.START + number * 3_600_000_000, first=4 * number)], [])
            keeper.pass_once(last=True)
        keeper.close()
    began = (samples.START / 1e6) - scene.START.timestamp()
    made = scene.bundle(tmp_path / "h", tmp_path / "b.tar", since=began, until=began + 3600)
    found = check(made.path, [scene.head(tmp_path / "h")])
    assert found.whole and found.segments, found.damage
    assert found.first > 8


def test_the_chain_reaches_back_as_far_as_is_needed(tmp_path: Path) -> None:
    """Law: entries of before the window and its segments are left out; what remains replays."""
    with LogWriter(tmp_path / "h", samples.NODE, samples.BOOT) as log:
        keeper = Keeper(tmp_path / "h")
        for number in range(6):
            log.append([samples.process_lives(4, start=samples.START + number * 3_600_000_000, first=4 * number)], [])
            keeper.pass_once(last=True)
        with sqlite3.connect(tmp_path / "h/manifest.db") as db:  # as if each had been handed over in its hour
            keeper.manifest.close()
            _backdate(db, [samples.START + (number - 1) * 3_600_000_000 + 5_000_000 for number in range(7)])
        db.close()
    began = (samples.START / 1e6) - scene.START.timestamp() + 4 * 3600
    made = scene.bundle(tmp_path / "h", tmp_path / "b.tar", since=began, until=began + 3600)
    found = check(made.path, [scene.head(tmp_path / "h")])
    assert found.whole, found.damage
    assert found.first > 1 and found.head is not None and found.head.sequence == 7


def _backdate(db: sqlite3.Connection, moments: list[int]) -> None:
    from firsthand.history.store import chain

    last = None
    for row in db.execute("SELECT * FROM chain ORDER BY sequence").fetchall():
        entry = chain.following(last, row[1], moments[row[0] - 1], json.loads(row[3]))
        db.execute(
            "UPDATE chain SET time = ?, previous = ?, hash = ? WHERE sequence = ?",
            (entry.time, entry.previous, entry.hash, entry.sequence),
        )
        last = entry


def test_published_heads_go_along(history: Path, tmp_path: Path) -> None:
    """Law: as they were published; those of another history on that machine are said to be."""
    heads = tmp_path / "heads.jsonl"
    histories.keep(history, heads=heads)
    made = scene.bundle(history, tmp_path / "b.tar", pod="web", heads=heads)
    assert forged.unpack(made.path)["heads.jsonl"] == heads.read_bytes()
    assert not any("heads" in what for what in check(made.path, [scene.head(history)]).unproven)
    with heads.open("a") as file:
        file.write(json.dumps({"head": "2:" + "0" * 64}) + "\n")
    made = scene.bundle(history, tmp_path / "c.tar", pod="web", heads=heads)
    assert any("1 of the 2 heads" in what for what in check(made.path).unproven)


def test_by_hand(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what README.txt says to type works, finds nothing in a whole bundle and something in a forged one."""
    made = scene.bundle(history, tmp_path / "b.tar", pod="web")
    text = forged.unpack(made.path)["README.txt"].decode()
    folder = tmp_path / "by-hand"
    folder.mkdir()
    subprocess.run(["tar", "xf", made.path], cwd=folder, check=True)
    quiet = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    assert quiet.stdout == b"" and "sha256sum --quiet -c SHA256SUMS" in text
    printed = subprocess.run(["sha256sum", "SHA256SUMS"], cwd=folder, check=True, capture_output=True, text=True)
    assert printed.stdout.split()[0] == made.digest
    monkeypatch.chdir(folder)
    queries = {"chain": readme.CHAIN, "named": readme.NAMED, "rows": readme.ROWS}
    assert all(query in text for query in queries.values())
    assert [_number(query) for query in queries.values()] == [0, 0, 0]
    members = forged.unpack(made.path)
    forged.entries(members, lambda found: [*found[:1], {**found[1], "time": 3}, *found[2:]])
    forged.rows(
        members, "process", lambda rows: rows.set_column(rows.schema.get_field_index("pid"), "pid", rows["tid"])
    )
    forged.document(members, "sources.json", lambda raw: raw[-1].update(sha256="0" * 64))
    for name in ("chain.jsonl", "rows/process.parquet", "sources.json"):
        (folder / name).write_bytes(members[name])
    assert all(_number(query) for query in queries.values())


def _number(query: str) -> int:
    with duckdb.connect() as connection:
        found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


def test_nothing_is_written_over(history: Path, tmp_path: Path) -> None:
    """Law: neither a bundle nor anything else."""
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        scene.bundle(history, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_text() == "mine"


def test_a_place_that_cannot_be_written(history: Path) -> None:
    """Law: it is said, with what to do, and nothing is left behind."""
    with pytest.raises(HistoryError, match="cannot be written"):
        scene.bundle(history, Path("/proc/b.tar"))


def test_a_segment_that_changes_meanwhile(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what is copied is what was hashed; else no bundle is made, and nothing is left behind."""
    from firsthand.evidence import making

    real = making._write

    def late(to: Path, contents: Any) -> None:
        one = next((history / "current").resolve().rglob("process/**/*.parquet"))
        one.chmod(0o640)
        one.write_bytes(bytes(one.stat().st_size))
        real(to, contents)

    monkeypatch.setattr(making, "_write", late)
    with pytest.raises(HistoryError, match="it was changed"):
        scene.bundle(history, tmp_path / "b.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["history"]


def test_entries_back_to_where_it_is_enough(history: Path) -> None:
    """Law: they are read from the head on and stand in order; nothing behind the head."""
    entries = manifest.chained(history)[0]
    head = scene.head(history)
    assert manifest.chain_back(history, head, lambda entry: False) == entries
    assert manifest.chain_back(history, head, lambda entry: entry.sequence == 3) == entries[2:]
    earlier = manifest.Head(entries[3].sequence, entries[3].hash)
    assert manifest.chain_back(history, earlier, lambda entry: entry.sequence == 3) == entries[2:4]
    assert manifest.load(history).head == head
