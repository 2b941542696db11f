"""A landing: a second chance by cause, the parts' times, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import landing, unsteady
from tests.landing import Parts

_SLOW_ONCE = """
from pathlib import Path

def test_slow_once(tmp_path):
    flag = Path(__file__).with_name("flag")
    if not flag.exists():
        flag.touch()
        raise TimeoutError

def test_passes(): pass
"""


def _tests(folder: Path, source: str) -> tuple[int, str, Parts]:
    """A landing of these tests alone."""
    inner = folder / "inner"
    inner.mkdir()
    (inner / "test_inner.py").write_text(source)
    (inner / "pytest.ini").write_text("[pytest]\n")
    (inner / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(landing.ROOT)!r})\npytest_plugins = ['tests.unsteady']\n"
    )
    parts = Parts()
    code, closing = landing.tests(parts, folder, ".", "-p", "no:hypothesispytest", root=inner)
    return code, closing, parts


def test_what_was_too_slow_once_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Law: it runs again, alone; the entry for the ledger is printed; both closing lines are there, the last one last."""
    code, closing, parts = _tests(tmp_path, _SLOW_ONCE)
    assert code == 0 and [name for name, _, _ in parts.done] == ["tests", "again"]
    first, last = closing.splitlines()
    assert "1 failed, 1 passed in" in first and "1 passed in" in last
    told = capsys.readouterr().out
    assert "UNSTEADY" in told and 'test = "test_inner.py::test_slow_once"\n' in told and unsteady.TIME in told


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def test_wrong(): assert 1 == 2\n", "nothing but the program explains it"),
        ("def test_always():\n    raise TimeoutError\n", "FAILED again"),
        ("import no_such_module\n", "nothing but the program explains it"),
    ],
)
def test_what_fails_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, said: str) -> None:
    """Law: a wrong value, one that is always too slow, and a module that cannot be read, end with an exit code other than 0."""
    code, closing, _ = _tests(tmp_path, source)
    assert code != 0 and closing
    told = capsys.readouterr().out
    assert said in told or code == 2


def test_each_part_is_timed() -> None:
    """Law: wall and processor seconds of a part are those of what it ran; the last line is their sum."""
    parts = Parts()
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    assert parts.run("burning", lambda: landing._call("python3", "-S", "-c", burn)) == 0
    assert parts.run("failing", lambda: landing._call("false")) == 1
    ((_, wall, used), (_, _, little)) = parts.done
    assert wall >= 0.3 and used >= 0.3 > little
    lines = parts.table().splitlines()
    assert [line.split()[1] for line in lines] == ["burning", "failing", "all"]


def test_a_session_that_breaks_off_has_no_closing_line(tmp_path: Path) -> None:
    """Law: it is said, and no older line is taken for it."""
    log = tmp_path / "log"
    log.write_text("collected 5 items\nFatal Python error\n")
    assert "no closing line" in landing._closing(log)
    log.write_text("== 3 passed in 1.00s ==\n==== 1 failed, 2 passed in 61.20s (0:01:01) ====\n")
    assert landing._closing(log).startswith("==== 1 failed")
