"""Upgrade and roll-back of one version under load: two layouts share the rings, and nothing is lost, doubled or misread."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed
from tests.kernel.test_torture import Truth, agree

pytestmark = pytest.mark.landing("another build runs under load, is taken over and rolled back")

_HERE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This version with one more column in the exits' records, built in a place of its own: its `src`."""
    require.bpf()
    place = tmp_path_factory.mktemp("newer")
    for name in ("src", "kernel"):
        shutil.copytree(_HERE / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(_HERE / name, place / name)
    events = place / "kernel/subjects/process.h"
    text = events.read_text()
    mark = '\t__u8 core_dumped DOC("a core was dumped")'
    assert mark in text
    events.write_text(text.replace(mark, '\t__u64 minor_faults DOC("page faults without a read");\n' + mark))
    probe = place / "kernel/subjects/exit.bpf.c"
    text = probe.read_text()
    mark = "\texit->peak_memory ="
    assert mark in text
    probe.write_text(text.replace(mark, "\texit->minor_faults = 4242;\n" + mark))
    environment = _environment(place / "src")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=place,
        env=environment,
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [sys.executable, "-m", "firsthand.schema.lock"], cwd=place, env=environment, check=True, capture_output=True
    )
    return place / "src"


def _environment(source: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(source)}


def test_upgrade_and_rollback_under_load(
    cgroup: TestCgroup, history: Path, tmp_path: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old, new, old: each takes over what the one before left attached; the new column is in the rows of its time alone.

    The ring has room for what comes while nobody reads.
    """
    configured(tmp_path, monkeypatch, f"ring_bytes = {128 << 20}\n")
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    work = Truth(cgroup, tmp_path, "1000")
    work.past(100)
    for version in (newer, _HERE / "src"):
        assert observed.stop() == 0, "".join(observed.errors)
        work.past(work.counted()[0] + 100)
        if version != newer:
            observed.command.remove("--keep-attached")
        observed.start(env=_environment(version))
        work.past(work.counted()[0] + 100)
    truth = work.end()
    assert observed.stop() == 0, "".join(observed.errors)
    agree(observed, truth)
    said = [row["event"] for row in observed.rows("SELECT event FROM observer WHERE event <> 'alive' ORDER BY ktime")]
    assert said == ["start", "ready", "resume", "ready", "resume", "ready", "stop"]
    assert len(list((history / "schema").glob("*.json"))) == 2
    query = "SELECT count(*) FILTER (minor_faults = 4242) AS new, count(*) FILTER (minor_faults IS NULL) AS old FROM process WHERE event = 'exit'"
    program = (
        "import json, sys; from pathlib import Path; from firsthand.history.store.connection import History\n"
        f"print(json.dumps(History(Path(sys.argv[1])).connection().execute({query!r}).fetchone()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(history)],
        env=_environment(newer),
        capture_output=True,
        text=True,
        check=True,
    )
    new, old = json.loads(result.stdout)
    assert new >= 100 and old >= 200, (new, old)
