"""What questions cost on a month of record, each beside plain DuckDB over the same files in the same run.

FIRSTHAND_MONTH=1e6,1e7 names the sizes (rows); 1e6 by default, 1e8 wants 4 GB of disk. A history is made once and kept (caches.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from firsthand.history import place
from tests.bench import month
from tests.bench.bench_asking import costs
from tests.bench.machine import machine

pytestmark = pytest.mark.bench
#: Only questions that begin so, by commas: FIRSTHAND_ASK=talkers,pods.
ONLY = os.environ.get("FIRSTHAND_ASK", "")
SIZES = [int(float(size)) for size in os.environ.get("FIRSTHAND_MONTH", "1e6").split(",")]
#: As the limits of `ask` are.
_PLAIN = """
import sys, duckdb
connection = duckdb.connect(config={"memory_limit": "256MB", "threads": 2, "temp_directory": "/var/tmp/firsthand-bench"})
print(len(connection.execute(sys.argv[1]).fetchall()))
"""
_OF_POD = f"pod = '{month.POD}'"
_TGID, _START = month.exec_id().split(":")[1:3]
_OF_PROCESS = f"exec_start = {_START} AND exec_tgid = {_TGID}"
_IMAGES = """SELECT count(*) FROM (SELECT boot, exec_tgid, exec_start, exec_number, bool_or(event = 'exec') AS e
    FROM {process} GROUP BY ALL) WHERE e"""
#: A question, and the SQL that somebody would write by hand who knows the files.
QUESTIONS: dict[str, str] = {
    "processes": _IMAGES,
    f"processes exe~tool-1 --pod {month.POD}": f"SELECT * FROM {{process}} WHERE {_OF_POD} AND contains(exe, 'tool-1')",
    f"process {month.exec_id()}": f"SELECT * FROM {{process}} WHERE {_OF_PROCESS} OR parent_start = {_START}",
    f"connected {month.RARE} --since 2026-03-01T00:00Z": f"""SELECT * FROM {{connection}} WHERE list_contains(names, '{month.RARE}')
        UNION ALL BY NAME SELECT * FROM {{name}} WHERE name = '{month.RARE}'""",
    "connected 203.3.113.9": "SELECT * FROM {connection} WHERE peer_address = '203.3.113.9'",
    f"timeline {month.POD}": " UNION ALL BY NAME ".join(
        f"SELECT * FROM {{{table}}} WHERE {_OF_POD}" for table in ("process", "connection", "name", "request")
    ),
    f"tree {month.POD}": f"SELECT * FROM {{process}} WHERE {_OF_POD}",
    "pods": "SELECT pod_uid, max(time), any_value(pod), list(DISTINCT container) FROM {pod} GROUP BY pod_uid",
    "privileged": """SELECT container, bit_or(cap_permitted), bit_or(cap_bounding), list(DISTINCT exe) FROM {process}
        WHERE event = 'exec' GROUP BY container""",
    "talkers": "SELECT workload, peer_address, count(*), sum(bytes_sent), sum(bytes_received) FROM {connection} GROUP BY ALL",
    "beacons": """SELECT pod, exe, peer_address, peer_port, median(apart), mad(apart), median(bytes_sent) FROM (SELECT *,
        epoch(time - lag(time) OVER (PARTITION BY pod, exe, peer_address, peer_port ORDER BY time)) AS apart FROM {connection}
        WHERE event = 'close') GROUP BY ALL HAVING count(*) >= 5""",
    "exfiltration": """SELECT workload, coalesce(names[1], peer_address), date_trunc('hour', time), sum(bytes_sent) FROM {connection}
        WHERE event = 'close' GROUP BY ALL""",
}


def _by_hand(history: Path, sql: str) -> str:
    """The SQL over the files of the generation in force."""
    folder = (history / place.CURRENT).resolve()
    tables = ("process", "connection", "name", "request", "pod", "container")
    files = {table: f"read_parquet('{folder}/{table}/**/*.parquet', hive_partitioning = false)" for table in tables}
    return sql.format(**files)


#: Processor seconds of each question by the number of rows.
_SECONDS: dict[str, dict[int, float]] = {}


@pytest.mark.parametrize("rows", SIZES)
def test_month(rows: int) -> None:
    """Each question and the SQL by hand, in turns; and what both cost before they do anything."""
    history = month.history(rows)
    files = list((history / place.CURRENT).resolve().glob("*/*/*.parquet"))
    size = sum(path.stat().st_size for path in files)
    print(f"\n{machine()}, load {os.getloadavg()[0]:.1f}")
    print(
        f"{rows:,} rows and what is said beside them in {len(files)} files, {size / 1e6:,.0f} MB, {size / rows:.0f} bytes a row"
    )
    begun = _paired(_command(history, "sql", "SELECT 1"), "SELECT 1")
    print(f"the start alone (`sql 'SELECT 1'`): {begun[0]:.2f} processor seconds; DuckDB {begun[1]:.2f}")
    for question, sql in QUESTIONS.items():
        if not any(question.startswith(word) for word in ONLY.split(",")):
            continue
        mine, plain, peak, other = _paired(_command(history, "ask", *question.split()), _by_hand(history, sql))
        said = f"{mine:.2f} processor seconds, {peak:.0f} MB; DuckDB {plain:.2f}, {other:.0f} MB"
        beyond = max(mine - begun[0], 0.0) / max(plain - begun[1], 0.001)
        print(
            f"ask {question}: {said}: {mine / plain:.1f} times, {beyond:.1f} beyond both starts; load {os.getloadavg()[0]:.1f}"
        )
        _SECONDS.setdefault(question, {})[rows] = mine


def test_growth() -> None:
    """What a question costs with ten times the rows: printed where several sizes were measured."""
    for question, by_rows in _SECONDS.items():
        if len(by_rows) > 1:
            print(f"ask {question}: {', '.join(f'{rows:,} rows {found:.2f} s' for rows, found in by_rows.items())}")


def _command(history: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "firsthand", *words, "--history", str(history)]


def _paired(command: list[str], sql: str) -> tuple[float, float, float, float]:
    """Processor seconds of a command and of the SQL by hand, the medians of three in turns, and the peaks of both in MB."""
    plain, mine = costs([[sys.executable, "-c", _PLAIN, sql], command], 3)
    return mine[0], plain[0], mine[1], plain[1]
