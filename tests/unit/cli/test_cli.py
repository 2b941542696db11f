"""The command line as scripts use it: exit codes, forms, and questions over a real history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firsthand.schema import capability
from firsthand.wire.batch import Batch
from tests import histories, samples
from tests.asking import run_on

NOW = datetime.now(UTC)
FULL = (1 << 41) - 1
ORDINARY = 0xA80425FB
C1, C2 = "a" * 64, "b" * 64


def _process(event: str, tgid: int, number: int, seconds: float, **more: Any) -> dict[str, Any]:
    row = {"event": event, "node": "n", "boot": "f00dcafe-0000", "exec_tgid": tgid, "exec_start": tgid * 10}
    row |= {
        "pid": tgid,
        "exec_number": number,
        "time": NOW - timedelta(seconds=60 - seconds),
        "ktime": int(seconds * 1e9),
    }
    row |= {"cap_permitted": ORDINARY, "cap_effective": ORDINARY, "cap_bounding": ORDINARY, "flags": 0}
    if event == "exec":
        row["previous_number"] = number - 1
    return row | more


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two containers, one privileged, on a host; the observer has stopped."""
    place = tmp_path_factory.mktemp("history")
    whole = {"cap_permitted": FULL, "cap_effective": FULL, "cap_bounding": FULL}
    rows = [
        _process("exec", 100, 2, 1, exe="/usr/bin/dockerd", args=["dockerd"], **whole),
        _process("exec", 200, 5, 2, exe="/bin/sh", args=["sh", "-c", "x y"], container=C1, euid=0, **whole),
        _process(
            "fork", 201, 5, 3, exe="/bin/sh", container=C1, parent_tgid=200, parent_start=2000, parent_number=5, **whole
        ),
        _process(
            "exec",
            201,
            6,
            4,
            exe="/bin/nc",
            args=["nc", "\x1b[2J"],
            container=C1,
            parent_tgid=200,
            parent_start=2000,
            parent_number=5,
            parent_name="sh",
            **whole,
        ),
        _process(
            "exit",
            201,
            6,
            5,
            exe="/bin/nc",
            container=C1,
            parent_tgid=200,
            parent_start=2000,
            parent_number=5,
            exit_code=3,
            duration=2 * 10**9,
            **whole,
        ),
        _process("exec", 300, 1, 6, exe="/bin/cat", args=["cat"], container=C2),
    ]
    observed = [
        samples.observer(e, NOW - timedelta(seconds=s), node="n", boot="f00dcafe-0000", recorded=i, hooks="{}")
        for i, (e, s) in enumerate((("start", 61), ("ready", 60), ("stop", 10)))
    ]
    histories.write(
        place, Batch.from_rows("process", rows), Batch.from_rows("observer", observed), boot="f00dcafe-0000"
    )
    return place


def _json(history: Path, *words: str) -> dict[str, Any]:
    done = run_on(history, "ask", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_help_is_quick() -> None:
    """`--help` imports no heavy library."""
    code = "import sys; sys.argv = ['firsthand', '--help']\nfrom firsthand.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: pass\nprint({'duckdb', 'pyarrow', 'numpy', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()") and "Verbs" in done.stdout


def test_ask_lists_its_questions(history: Path) -> None:
    """Without a question the known ones are listed."""
    assert "privileged" in run_on(history, "ask").stdout


def test_the_json_object_has_its_parts(history: Path) -> None:
    """Names as documented; a finished history is complete over its own extent."""
    found = _json(history, "processes")
    assert set(found) == {"version", "question", "answer", "window", "completeness", "truncated", "rows"}
    parts = ["complete", "observed", "history_begins", "events_held", "events_lost", "blind_spots"]
    parts += ["reasons", "scope", "folded", "folded_connections"]
    assert set(found["completeness"]) == set(parts)
    assert found["completeness"]["complete"] and found["completeness"]["events_held"] == 6
    assert found["answer"] == "Yes: 4 of 4 program images match"


@pytest.mark.parametrize(
    ("condition", "exes"),
    [
        ("exe=/bin/nc", ["/bin/nc"]),
        ("args~x y", ["/bin/sh"]),
        ("container=host", ["/usr/bin/dockerd"]),
        ("container=bbbbbb", ["/bin/cat"]),
        ("pid>200", ["/bin/nc", "/bin/cat"]),
        ("parent=sh", ["/bin/nc"]),
        ("exe!=/bin/nc", ["/usr/bin/dockerd", "/bin/sh", "/bin/cat"]),
    ],
)
def test_processes_by_any_column(history: Path, condition: str, exes: list[str]) -> None:
    """Conditions choose rows; the sentence has the denominator."""
    found = _json(history, "processes", condition)
    assert [row["exe"] for row in found["rows"]] == exes and f"{len(exes)} of 4" in found["answer"]


@pytest.mark.parametrize("words", [("processes", "exe=\udcff"), ("connected", "\udcff"), ("pods", "--pod", "\udcff")])
def test_bytes_that_are_no_text_are_refused(history: Path, words: tuple[str, ...]) -> None:
    """With how to write them."""
    found = run_on(history, "ask", *words)
    assert found.returncode == 2 and "is not UTF-8: write its bytes as \\xNN" in found.stderr


def test_privileged_names_the_containers(history: Path) -> None:
    """Only the container whose processes hold more than the ordinary set; the host is no container."""
    found = _json(history, "privileged")
    (row,) = found["rows"]
    assert row["container"] == C1 and row["all"] and row["binaries"] == ["/bin/nc", "/bin/sh"]
    assert (
        "sys_admin" in row["beyond"]
        and "chown" not in row["beyond"]
        and found["answer"].startswith("1 of 2 containers")
    )


def test_a_process_is_told_whole(history: Path) -> None:
    """Parents, its own rows and its end, by exec_id or by pid."""
    found = _json(history, "process", "f00dcafe:201:2010:6")
    assert [row["relation"] for row in found["rows"]] == ["parent 1", "before", "self", "self"]
    assert found["answer"] == "/bin/nc: ended with code 3 after 2.000 s"
    assert _json(history, "process", "201")["rows"] == found["rows"]


def test_a_tree_has_depths(history: Path) -> None:
    """A child stands below its parent; a fork that became an exec is one node."""
    rows = _json(history, "tree", C1[:8])["rows"]
    assert [(row["depth"], row["exe"], row["exit_code"]) for row in rows] == [(0, "/bin/sh", None), (1, "/bin/nc", 3)]


def test_a_timeline_is_in_order(history: Path) -> None:
    """All tables' rows of the window, by time, from the observer's `start` on."""
    rows = _json(history, "timeline")["rows"]
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows) and len(rows) == 9
    assert (rows[0]["table"], rows[0]["event"]) == ("observer", "start")


def test_limits_are_said(history: Path) -> None:
    """Fewer rows than there are: truncated."""
    found = _json(history, "processes", "--limit", "1")
    assert found["truncated"] and len(found["rows"]) == 1 and found["answer"].startswith("Yes: 4")


def test_exit_codes(history: Path, tmp_path: Path) -> None:
    """0, 1, 2, 3 and 4, as documented; 3 before 4."""
    assert run_on(history, "ask", "processes", "--fail-on-rows").returncode == 4
    assert run_on(history, "ask", "processes", "exe=/none", "--fail-on-rows").returncode == 0
    done = run_on(history, "ask", "processes", "--since", "30d", "--require-complete", "--fail-on-rows")
    assert done.returncode == 3 and "the history begins at" in done.stdout
    assert run_on(history, "ask", "processes", "--require-complete").returncode == 0
    for words in (
        ["ask", "nothing"],
        ["ask", "processes", "colour=1"],
        ["ask", "processes", "--since", "soon"],
        ["ask", "--no"],
    ):
        assert run_on(history, *words).returncode == 2, words
    missing = run_on(tmp_path / "none", "ask", "processes")
    assert missing.returncode == 1 and "firsthand run" in missing.stderr


def test_labels_are_not_ignored(history: Path) -> None:
    """A label that nothing ever had is refused; one that is not wanted leaves all, and nameless containers make it incomplete."""
    done = run_on(history, "ask", "processes", "-l", "app=web")
    assert done.returncode == 2 and "no label app is in this history" in done.stderr
    found = _json(history, "processes", "-l", "!app")
    assert not found["completeness"]["complete"]
    assert "2 containers have an id and no name" in found["completeness"]["reasons"][-1]
    wrong = run_on(history, "ask", "processes", "-l", "app=(web")
    assert wrong.returncode == 2 and "KEY in (A,B)" in wrong.stderr


def test_status_counts_containers_without_a_name(history: Path) -> None:
    """For people and for programs; no runtime was followed here."""
    found = json.loads(run_on(history, "status", "--json").stdout)
    assert found["containers"]["seen"] == found["containers"]["named"] + found["containers"]["unnamed"]
    assert found["runtimes"] == [] and found["observers"][0]["recorded"] is not None
    assert "none was followed" in run_on(history, "status").stdout


def test_terminal_escapes_never_reach_the_terminal(history: Path) -> None:
    """In every form for people."""
    for words in (
        ["ask", "processes", "-o", "wide"],
        ["ask", "tree"],
        ["ask", "process", "201"],
        ["sql", "SELECT args FROM process"],
    ):
        done = run_on(history, *words)
        assert done.returncode == 0 and "\x1b" not in done.stdout and "\\x1b[2J" in done.stdout, words


def test_sql_reads_and_never_writes(history: Path, tmp_path: Path) -> None:
    """SELECT is answered; anything else is refused with 2 and leaves no file."""
    done = run_on(history, "sql", "SELECT count(*) AS n FROM process", "-o", "jsonl")
    assert json.loads(done.stdout) == {"n": 6}
    target = tmp_path / "out.csv"
    for query in (
        f"COPY process TO '{target}'",
        "CREATE TABLE x (a INT)",
        f"EXPLAIN ANALYZE COPY process TO '{target}'",
    ):
        assert run_on(history, "sql", query).returncode == 2
    assert not target.exists()


def test_csv_cells_are_no_formulas(history: Path) -> None:
    """A cell that a spreadsheet would run is quoted."""
    done = run_on(history, "sql", "SELECT '=1+1' AS a", "-o", "csv")
    assert done.stdout.splitlines()[1] == "'=1+1"


def test_completion_scripts(history: Path) -> None:
    """Each shell gets a script."""
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-m", "firsthand", "completion", shell], capture_output=True, text=True, check=True
        )
        assert "_FIRSTHAND_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("typed", "found"), [("ask conn", {"connected"}), ("ask e", {"exposed", "exfiltration"}), ("sta", {"status"})]
)
def test_what_a_shell_completes(typed: str, found: set[str]) -> None:
    """Verbs, and the questions behind `ask`."""
    words = f"firsthand {typed}"
    asked = {"_FIRSTHAND_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    script = Path(sys.executable).with_name("firsthand")
    done = subprocess.run([script], env=os.environ | asked, capture_output=True, text=True)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == found, done.stderr


def test_capability_names_go_both_ways() -> None:
    """A set's names make the set again."""
    assert capability.bits(capability.names(FULL)) == FULL and capability.names(1 << 12) == ["net_admin"]


def test_wide_has_more_columns_and_programs_get_all(history: Path) -> None:
    """A table is for reading, a wide one shows more, JSON and CSV hold whole rows."""
    heads = {form: run_on(history, "ask", "processes", "-o", form).stdout.splitlines() for form in ("table", "wide")}
    table, wide = heads["table"][1].split(), heads["wide"][1].split()
    assert table == wide[: len(table)] and {"cwd", "parent_exec_id", "cap_effective"} <= set(wide) - set(table)
    (row, *_) = _json(history, "processes")["rows"]
    assert row["pid"] == 100 and row["boot"] == "f00dcafe-0000" and "ns_mount" in row
    assert run_on(history, "ask", "processes", "-o", "csv").stdout.splitlines()[0].split(",") == list(row)
