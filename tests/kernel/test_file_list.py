"""The list of watched files changes while observing goes on: what stays is watched all the time, and an answer knows what was not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.asking import answered
from tests.cgroups import TestCgroup
from tests.kernel.agent import Agent
from tests.kernel.observed import Observed
from tests.kernel.test_disk import SupervisorLines

pytestmark = pytest.mark.budget(40, "four observers follow each other")

_ANEW = "the settings have changed: the observer started anew"
#: Opens a file again and again, with a process between, until another one is there; how often.
_LOOP = """
n = 0
while not os.path.exists({stop!r}):
    open({path!r}).close()
    os.waitpid(os.fork() or os._exit(0), 0)
    n += 1
"""


def _watch(config: Path, *entries: str, enabled: bool = True) -> None:
    new = config.with_suffix(".new")
    new.write_text(
        f"ring_bytes = {64 << 20}\n[files]\nenabled = {str(enabled).lower()}\nread = {json.dumps(entries)}\nwrite = []\n"
    )
    new.replace(config)


def test_the_list_changes_under_load(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off, a folder, another one beside it in a pattern, off again: each open of what was in force has its row, and no other."""
    config, stop = tmp_path / "config.toml", tmp_path / "stop"
    for name in ("stays", "comes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    stays, comes = (str(tmp_path / name / "file") for name in ("stays", "comes"))
    _watch(config, f"{tmp_path}/stays/", enabled=False)
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(config))
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard, agent = SupervisorLines(observed), Agent(cgroup)
    agent.do(f"open({stays!r}).close()")
    _watch(config, f"{tmp_path}/stays/")
    heard.wait(_ANEW, 1)
    agent.do(f"open({comes!r}).close()")
    agent.begin(_LOOP.format(stop=str(stop), path=stays))
    _watch(config, f"{tmp_path}/stays/", f"{tmp_path.parent}/*/comes/file")
    heard.wait(_ANEW, 2)
    stop.write_text("")
    agent.end()
    agent.do(f"open({comes!r}).close()")
    opened = agent.do("n")
    _watch(config, enabled=False)
    heard.wait(_ANEW, 3)
    agent.do(f"open({stays!r}).close(); open({comes!r}).close()")
    observed.process.send_signal(2)
    assert observed.process.wait() == 0
    heard.join()
    rows = observed.rows("SELECT path, count(*) AS n FROM file GROUP BY path ORDER BY path")
    assert [(row["path"], row["n"]) for row in rows] == [(comes, 1), (stays, opened)]
    assert observed.lost() == 0
    answer = answered(history, "touched", comes)
    assert answer.sentence.startswith("Yes: 1 event of 1 file")
    assert sum(f"{comes} was not watched from" in reason for reason in answer.completeness.reasons) == 1
    assert sum(reason.startswith("no file was watched from") for reason in answer.completeness.reasons) == 2
    assert answered(history, "touched", str(tmp_path / "other")).sentence.startswith("Not watched: ")
