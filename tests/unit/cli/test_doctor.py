"""`firsthand doctor` and `firsthand config`, as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests import histories
from tests.samples import observed, process_lives


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firsthand", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def _history(folder: Path) -> Path:
    histories.write(folder / "history", process_lives(5), observed())
    return folder / "history"


def test_each_finding_says_what_to_do(tmp_path: Path) -> None:
    """Whatever is not ok has a remedy; nobody observing is told."""
    result = _run("doctor", "--json", "--history", str(_history(tmp_path)))
    found = json.loads(result.stdout)
    assert {one["what"] for one in found} >= {"kernel", "rights", "disk", "observer", "clock"}
    assert all(one["remedy"] for one in found if one["state"] == "fail")
    assert any(one["what"] == "observer" and one["state"] == "warn" for one in found)
    assert result.returncode == any(one["state"] == "fail" for one in found)


def test_a_bundle_holds_nothing_that_a_process_said(tmp_path: Path) -> None:
    """Neither arguments nor the key of the redaction."""
    config = tmp_path / "config.toml"
    config.write_text('[redaction]\nkey = "planted-key"\n')
    bundle = tmp_path / "bundle.tar.gz"
    _run("doctor", "--history", str(_history(tmp_path)), "--bundle", str(bundle), FIRSTHAND_CONFIG=str(config))
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
        text = b"".join(archive.extractfile(one).read() for one in archive.getmembers())  # type: ignore[union-attr]
    assert b"planted-key" not in text
    assert b"args" not in text and b"exe" not in text.replace(b"process_exec", b"")
    assert "firsthand/findings.json" in names


def test_a_wrong_file_is_a_failing_finding(tmp_path: Path) -> None:
    """And everything else is looked at all the same."""
    config = tmp_path / "config.toml"
    config.write_text("fold = 'many'\n")
    result = _run("doctor", "--json", "--history", str(_history(tmp_path)), FIRSTHAND_CONFIG=str(config))
    assert result.returncode == 1
    assert json.loads(result.stdout)[0]["what"] == "settings"


def test_config_check_names_the_mistake(tmp_path: Path) -> None:
    """Unknown keys, wrong types, patterns that are none: exit code 2; a good file 0."""
    config = tmp_path / "config.toml"
    for text, words in (
        ("folt = 3", "unknown setting folt"),
        ("fold = 'x'", "fold: expected whole lines of at least 1"),
        ("ring_bytes = 5000", "power of two"),
        ("[redaction.patterns]\nx = '('", "redaction.patterns"),
        ("[redaction.programs]\ntool = ['-p']", "write SECRET where the secret stands"),
        ("[redaction.programs]\ntool = '-p SECRET'", "redaction.programs: expected"),
    ):
        config.write_text(text)
        result = _run("config", "check", str(config))
        assert (result.returncode, words in result.stderr) == (2, True), result.stderr
    config.write_text("fold = 3")
    assert "good" in _run("config", "check", str(config)).stdout


def test_config_show_says_where_from_and_hides_the_key(tmp_path: Path) -> None:
    """The file's settings are marked; the key is not shown."""
    config = tmp_path / "config.toml"
    config.write_text('fold = 3\n[redaction]\nkey = "planted-key"\n')
    result = _run("config", "show", "--json", FIRSTHAND_CONFIG=str(config))
    found = {one["setting"]: one for one in json.loads(result.stdout)}
    assert (found["fold"]["value"], found["fold"]["from"]) == (3, str(config))
    assert found["poll_ms"]["from"] == "default"
    assert "planted-key" not in result.stdout
