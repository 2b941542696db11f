"""Bundles as somebody who wants to deceive would make them: members changed, and every sum that he can make put right."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from firsthand.history.store import chain

Members = dict[str, bytes]


def unpack(path: Path) -> Members:
    """The members of a bundle."""
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def pack(path: Path, members: Members, *, sums: bool = True) -> Path:
    """A bundle of these members; with `sums` SHA256SUMS is made to fit."""
    members = dict(members)
    if sums:
        listed = {name: hashlib.sha256(data).hexdigest() for name, data in members.items() if name != "SHA256SUMS"}
        members["SHA256SUMS"] = "".join(f"{sha}  {name}\n" for name, sha in sorted(listed.items())).encode()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def rows(members: Members, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of a table, and what bundle.json says of their number."""
    name = f"rows/{table}.parquet"
    found = change(pq.read_table(io.BytesIO(members[name])))
    out = io.BytesIO()
    pq.write_table(found, out, store_schema=False)
    members[name] = out.getvalue()
    about = json.loads(members["bundle.json"])
    about["rows"][table] = found.num_rows
    members["bundle.json"] = json.dumps(about).encode()


def document(members: Members, name: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON document: in place, or what `change` returns."""
    found = json.loads(members[name])
    members[name] = json.dumps(change(found) or found).encode()


def entries(
    members: Members, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], *, anew: bool = False
) -> None:
    """Change the chain; with `anew` every hash is made to fit, and the head that bundle.json names."""
    found = change([json.loads(line) for line in members["chain.jsonl"].splitlines()])
    if anew:
        for number, entry in enumerate(found):
            if number:
                entry["previous"] = found[number - 1]["hash"]
            parts = [entry[name] for name in ("sequence", "kind", "time", "body", "previous")]
            entry["hash"] = chain.digest(*parts)
        document(
            members, "bundle.json", lambda about: about.update(head=f"{found[-1]['sequence']}:{found[-1]['hash']}")
        )
    members["chain.jsonl"] = "".join(json.dumps(entry) + "\n" for entry in found).encode()
