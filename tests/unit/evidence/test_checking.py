"""evidence/checking.py and comparing.py: what was done to a bundle is found, also by whoever put every sum right."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from firsthand.errors import DamagedError
from firsthand.evidence.checking import check
from firsthand.evidence.sources import of_segment
from firsthand.evidence.verdict import BundleVerdict
from firsthand.history.store.chain import Head
from tests import profile
from tests.unit.evidence import forged, scene
from tests.unit.evidence.forged import Members


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of one pod, with rows from segments and from the log."""
    folder = tmp_path_factory.mktemp("bundle")
    scene.bundle(scene.write(folder / "history"), folder / "b.tar", until=100, pod="web")
    return folder / "b.tar"


@pytest.fixture
def members(bundle: Path) -> Members:
    return forged.unpack(bundle)


def _check(tmp_path: Path, members: Members, **options: bool) -> BundleVerdict:
    return check(forged.pack(tmp_path / "forged.tar", members, **options))


def _segment(members: Members, table: str = "process") -> str:
    return next(name for name in members if name.startswith(f"segments/{table}/"))


def _changed(rows: pa.Table, name: str, value: object) -> pa.Table:
    values = rows[name].to_pylist()
    values[1] = value
    return rows.set_column(
        rows.schema.get_field_index(name), rows.schema.field(name), pa.array(values, rows.schema.field(name).type)
    )


def _segment_changed(members: Members) -> None:
    members[_segment(members)] = members[_segment(members, "observer")]


def _segment_swapped(members: Members) -> None:
    """Another segment under its own hash, and sources.json told so."""
    import hashlib

    old = _segment(members)
    rows = pq.read_table(io.BytesIO(members.pop(old)))
    out = io.BytesIO()
    pq.write_table(_changed(rows, "exe", "/bin/innocent"), out)
    sha256 = hashlib.sha256(out.getvalue()).hexdigest()
    new = of_segment("process", sha256)
    members[new] = out.getvalue()
    words = {"name": new, "sha256": sha256, "bytes": len(out.getvalue())}
    forged.document(
        members,
        "sources.json",
        lambda raw: sorted(
            ({**one, **words} if one["name"] == old else one for one in raw), key=lambda one: one["name"]
        ),
    )


def _later(members: Members) -> None:
    forged.document(members, "bundle.json", lambda about: about["question"].update(until=scene.micro(8)))


def _row(members: Members, name: str, value: object, table: str = "process") -> None:
    forged.rows(members, table, lambda rows: _changed(rows, name, value))


def _sources(members: Members, **words: object) -> None:
    forged.document(members, "sources.json", lambda raw: raw[-1].update(words))


_FORGED: dict[str, tuple[Callable[[Members], object], str]] = {
    "a row changed": (lambda m: _row(m, "exe", "/bin/innocent"), "it was changed: exe differ"),
    "a row's names changed": (lambda m: _row(m, "pod", "db"), "it was changed: pod differ"),
    "a row said to be of another source": (lambda m: _row(m, "source", "chunks/log/x"), "out of order"),
    "a row's reason changed": (lambda m: _row(m, "why", "names"), "it was changed: why differ"),
    "a row removed": (
        lambda m: forged.rows(m, "process", lambda rows: rows.slice(1)),
        "not asked for, stands out of order",
    ),
    "the last row removed": (
        lambda m: forged.rows(m, "process", lambda rows: rows.slice(0, len(rows) - 1)),
        "1 rows are missing",
    ),
    "all rows removed": (lambda m: forged.rows(m, "process", lambda rows: rows.slice(0, 0)), "rows are missing"),
    "a row doubled": (
        lambda m: forged.rows(m, "process", lambda rows: pa.concat_tables([rows, rows.slice(1, 1)])),
        "not asked for",
    ),
    "rows re-ordered": (
        lambda m: forged.rows(m, "process", lambda rows: rows.take(list(range(len(rows)))[::-1])),
        "stands out of order",
    ),
    "a column removed": (lambda m: forged.rows(m, "process", lambda rows: rows.drop_columns(["args"])), "args differ"),
    "a loss removed": (lambda m: forged.rows(m, "observer", lambda rows: rows.slice(0, 2)), "rows/observer.parquet"),
    "a segment changed": (_segment_changed, "not the one that its history recorded"),
    "a segment swapped": (_segment_swapped, "no entry of the chain names"),
    "a segment told to be another": (
        lambda m: _sources(m, path="process/date=2026-05-01/x.parquet"),
        "no entry of the chain names",
    ),
    "a segment of another table": (lambda m: _sources(m, table="loss"), "its name is not that of"),
    "a source left out": (
        lambda m: forged.document(m, "sources.json", lambda raw: raw[1:]),
        "sources.json does not name it",
    ),
    "a source twice": (lambda m: forged.document(m, "sources.json", lambda raw: [*raw, raw[-1]]), "stands there twice"),
    "another entry named": (lambda m: _sources(m, entry=1), "no entry of the chain names"),
    "an entry changed": (lambda m: forged.entries(m, lambda e: [{**e[0], "time": 5}, *e[1:]]), "it was changed"),
    "an entry removed": (lambda m: forged.entries(m, lambda e: [e[0], *e[2:]]), "missing or out of order"),
    "entries swapped": (lambda m: forged.entries(m, lambda e: [e[0], e[2], e[1], *e[3:]]), "out of order"),
    "the chain cut": (lambda m: forged.entries(m, lambda e: e[:-1]), "it was cut or changed"),
    "the chain cut and the head told so": (
        lambda m: forged.entries(m, lambda e: e[:3], anew=True),
        "no entry of the chain names",
    ),
    "the chain removed": (lambda m: forged.entries(m, lambda e: []), "it was cut or changed"),
    "another question": (_later, "not asked for"),
    "said to be complete": (
        lambda m: forged.document(m, "completeness.json", lambda raw: raw.update(complete=True, reasons=["x"])),
        "against its own reasons",
    ),
    "said to have been observed": (
        lambda m: forged.document(m, "completeness.json", lambda raw: raw.update(observed=[])),
        "its rows say",
    ),
    "a loss denied": (
        lambda m: forged.document(m, "completeness.json", lambda raw: raw.update(events_lost=7)),
        "its rows say 0",
    ),
    "a layout changed": (
        lambda m: m.update({next(n for n in m if n.startswith("layouts/")): b"[]"}),
        "its SHA-256 is not its name",
    ),
    "a chunk changed": (
        lambda m: m.update({(n := next(n for n in m if n.startswith("chunks/"))): m[n][:-20] + bytes(20)}),
        "was changed",
    ),
    "a chunk of another place": (
        lambda m: forged.document(m, "sources.json", lambda raw: raw[0].update(offset=1)),
        "chunk",
    ),
    "bundle.json of another format": (
        lambda m: forged.document(m, "bundle.json", lambda a: a.update(version=2)),
        "use that version",
    ),
    "rows that are no Parquet": (lambda m: m.update({"rows/process.parquet": b"PAR1" * 9}), "cannot be read"),
    "documents that are none": (lambda m: m.update({"sources.json": b"{" * 100_000}), "sources.json: it is unreadable"),
    "documents of other things": (lambda m: m.update({"bundle.json": b"[1]"}), "bundle.json: it is unreadable"),
    "a time beyond all times": (
        lambda m: forged.document(m, "bundle.json", lambda a: a["question"].update(until=1 << 70)),
        "its question is unreadable",
    ),
}


def test_a_bundle_is_whole(bundle: Path) -> None:
    """Law: as it was made it verifies, and says what it does not prove."""
    found = check(bundle)
    assert found.whole, found.damage
    assert found.complete and found.reasons == []
    assert found.rows["process"] > 5 and found.segments > 2 and found.chunks == 1
    assert any("no head from outside" in what for what in found.unproven)
    assert any("1 chunks of the log" in what for what in found.unproven)


def test_a_bundle_put_together_again_is_the_same(bundle: Path, members: Members, tmp_path: Path) -> None:
    """Law: the tests' own tar is a bundle's, so what is found below is what was forged."""
    again = forged.pack(tmp_path / "again.tar", members)
    assert check(again).whole
    assert again.read_bytes() == bundle.read_bytes()


@pytest.mark.parametrize("what", _FORGED)
def test_what_was_forged_is_found(members: Members, tmp_path: Path, what: str) -> None:
    """Law: each is one finding at least, in words, though all sums were made to fit."""
    act, words = _FORGED[what]
    act(members)
    found = _check(tmp_path, members)
    assert any(words in damage for damage in found.damage), found.damage


def test_every_file_is_needed(members: Members, tmp_path: Path) -> None:
    """Law: a file that is missing is named, whichever it is; so is one that was changed, and one that was put in."""
    for name in dict.fromkeys(["SHA256SUMS", *profile.some(sorted(members), ci=6)]):
        fewer = {other: data for other, data in members.items() if other != name}
        if name == "SHA256SUMS":
            with pytest.raises(DamagedError, match="SHA256SUMS: it is missing"):
                _check(tmp_path, fewer, sums=False)
            continue
        assert f"{name}: it is missing" in _check(tmp_path, fewer, sums=False).damage
        changed = _check(tmp_path, members | {name: members[name] + b"x"}, sums=False).damage
        assert f"{name}: it was changed: its SHA-256 is not that of SHA256SUMS" in changed
    more = _check(tmp_path, members | {f"segments/process/{'0' * 64}.parquet": b"x"}, sums=False).damage
    assert any("SHA256SUMS does not name it" in damage for damage in more)


def test_no_bit_is_idle(bundle: Path, tmp_path: Path) -> None:
    """Law: a flipped bit anywhere in the file's content is found or refused."""
    data = bundle.read_bytes()
    for at in profile.some(range(137, len(data), len(data) // 60), ci=12):
        other = tmp_path / "flipped.tar"
        other.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        try:
            assert not check(other).whole, at
        except DamagedError:
            continue


def test_a_head_from_outside_proves(bundle: Path, members: Members, tmp_path: Path) -> None:
    """Law: up to it the chain is proven; one of a time after the bundle proves nothing; another one's is damage."""
    entry = json.loads(members["chain.jsonl"].splitlines()[-1])
    head = Head(entry["sequence"], entry["hash"])
    found = check(bundle, [head])
    assert (found.whole, found.proven, found.head) == (True, head.sequence, head)
    assert not any(what.startswith("the chain") for what in found.unproven)
    early = json.loads(members["chain.jsonl"].splitlines()[1])
    part = check(bundle, [Head(early["sequence"], early["hash"])])
    assert part.proven == early["sequence"]
    assert any(f"they came behind entry {early['sequence']}" in what for what in part.unproven)
    assert check(bundle, [Head(head.sequence + 1, "0" * 64)]).proven == 0
    assert any("rewritten" in damage for damage in check(bundle, [Head(head.sequence, "0" * 64)]).damage)


def test_a_bundle_forged_whole_is_known_by_the_head(members: Members, tmp_path: Path) -> None:
    """Law: who makes chain, segment and rows anew gets a bundle that is whole in itself; the published head alone tells, and so does
    the digest."""
    published = forged.unpack(forged.pack(tmp_path / "was.tar", members))
    last = json.loads(published["chain.jsonl"].splitlines()[-1])
    first = check(tmp_path / "was.tar").digest

    def anew(entries: list[dict[str, object]]) -> list[dict[str, object]]:
        return [{**entry, "time": 1} if number == 1 else entry for number, entry in enumerate(entries)]

    forged.entries(members, anew, anew=True)
    path = forged.pack(tmp_path / "forged.tar", members)
    assert check(path).whole
    assert any("rewritten" in damage for damage in check(path, [Head(last["sequence"], last["hash"])]).damage)
    assert any("digest" in damage for damage in check(path, digest=first).damage)


def test_a_pod_that_was_taken_out_of_rows_and_question(members: Members, tmp_path: Path) -> None:
    """Law: rows of another pod cannot be passed off as the asked one's."""
    forged.document(members, "bundle.json", lambda about: about["question"].update(pod="db"))
    assert any("not asked for" in damage for damage in _check(tmp_path, members).damage)
    assert pc.any(pc.equal(pq.read_table(io.BytesIO(members["rows/process.parquet"]))["pod"], "web")).as_py()
