"""serve/metrics.py by a real scrape."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from firsthand.serve.metrics import METRICS
from tests import histories
from tests.samples import observed, process_lives

_DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a process that serves a history."""
    histories.write(tmp_path / "history", process_lives(5), observed())
    command = [
        sys.executable,
        "-m",
        "firsthand",
        "metrics",
        "--history",
        str(tmp_path / "history"),
        "--listen",
        "127.0.0.1:0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    yield process.stderr.readline().strip()
    process.terminate()
    assert process.wait() == 0
    process.stderr.close()


def test_a_scrape_has_known_metrics_only(served: str) -> None:
    """Each is in METRICS; a history that nobody writes is up and unhealthy."""
    with urllib.request.urlopen(served) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    values = {sample.name: sample.value for family in families for sample in family.samples}
    assert set(values) <= set(METRICS)
    assert (values["firsthand_up"], values["firsthand_healthy"], values["firsthand_observing"]) == (1, 0, 0)
    assert values["firsthand_disk_free_bytes"] > 0


def test_health_says_no(served: str) -> None:
    """503 for a probe, while nothing is observed."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(served.replace("/metrics", "/healthz"))
    assert caught.value.code == 503


def test_an_address_outside_is_refused(tmp_path: Path) -> None:
    """Unless it is asked for."""
    command = [sys.executable, "-m", "firsthand", "metrics", "--history", str(tmp_path), "--listen", "0.0.0.0:0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--allow-remote" in result.stderr


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_described(name: str) -> None:
    """docs/metrics.md has a row for each."""
    assert f"| `{name}` |" in (_DOCS / "metrics.md").read_text()
