"""`firsthand evidence` of a real observation: what really ran, in one file, that verifies where the history is not."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed
from tests.unit.evidence import forged


def _firsthand(*words: str | Path) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "firsthand", *map(str, words), "--json"], capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, 1), result.stderr
    return {**json.loads(result.stdout), "code": result.returncode}


@pytest.mark.landing("a bundle of a real history")
def test_a_bundle_verifies_elsewhere(cgroup: TestCgroup, history: Path, tmp_path: Path) -> None:
    """While it is observed, a pod's processes go into a bundle, with who started them; the history is deleted, the bundle moved: it
    verifies by a head of the time before, and a changed row does not."""
    uid = str(uuid.uuid4())
    heads, elsewhere = tmp_path / "heads.jsonl", tmp_path / "elsewhere" / "case.tar"
    elsewhere.parent.mkdir()
    pod = cgroup.below(f"kubepods/pod{uid}/{uuid.uuid4().hex * 2}")
    with Observed(history, [cgroup.path]) as observed:
        since = datetime.now(UTC).isoformat()
        shell = cgroup.run(
            ["/bin/sh", "-c", f"echo $$ > {pod}/cgroup.procs; /bin/true 'who was it'; /bin/echo x > /dev/null"]
        )
        assert shell.wait() == 0
        until = datetime.now(UTC).isoformat()
        observed.wait("SELECT 1 FROM process WHERE event = 'exit' AND exe LIKE '%/true'")
        early = _firsthand(
            "evidence", "--history", history, "--since", since, "--pod", uid, "-o", tmp_path / "early.tar"
        )
        assert early["code"] == 0 and early["whole"], early["damage"]
        assert early["chunks"] and early["rows"]["process"]
    head = _firsthand("verify", "--history", history)["head"]
    heads.write_text(json.dumps({"head": head}) + "\n")
    words = ("--since", since, "--until", until, "--pod", uid, "-o", tmp_path / "case.tar")
    made = _firsthand("evidence", "--history", history, *words)
    assert made["whole"], made["damage"]
    assert made["reasons"] == [
        "1 container has an id and no name (`firsthand ask unknown` lists them)"
    ]  # no runtime was asked
    shutil.rmtree(history)
    (tmp_path / "case.tar").rename(elsewhere)
    found = _firsthand("verify", elsewhere, "--heads", heads, "--digest", made["digest"])
    assert (found["code"], found["damage"], found["chunks"]) == (0, [], 0)
    assert found["proven"] == int(head.partition(":")[0])
    _what_ran(elsewhere, shell.pid)
    members = forged.unpack(elsewhere)
    forged.rows(members, "process", lambda rows: rows.take(list(range(1, len(rows)))))
    assert _firsthand("verify", forged.pack(tmp_path / "forged.tar", members), "--heads", heads)["code"] == 1


def _what_ran(bundle: Path, shell: int) -> None:
    """The pod's programs, and the shell as it was before it went into the pod, as what they came from."""
    rows = pq.read_table(io.BytesIO(forged.unpack(bundle)["rows/process.parquet"])).to_pylist()
    execs = {row["exe"].rpartition("/")[2]: row for row in rows if row["event"] == "exec"}
    assert execs["true"]["args"] == ["/bin/true", "who was it"]
    assert execs["true"]["why"] == execs["echo"]["why"] == "window"
    assert execs["true"]["parent_tgid"] == shell
    (sh,) = [row for row in rows if row["pid"] == shell and row["event"] == "exec"]
    assert (sh["why"], sh["exec_number"]) == ("lineage", execs["true"]["parent_number"])
