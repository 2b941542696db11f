"""cli/export.py: the verb as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.export import feed
from tests.unit.export.feed import Feed

VERB = [sys.executable, "-m", "firsthand", "export"]


def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | more
    return subprocess.run([*VERB, *words], capture_output=True, text=True, env=environment, check=False, timeout=60)


@pytest.fixture
def grown(tmp_path: Path) -> Feed:
    found = Feed(tmp_path / "history")
    found.write(2)
    return found


def test_to_standard_output(grown: Feed) -> None:
    """Law: without more, every row that is there goes out as a line, and the run ends with 0."""
    done = run("--history", str(grown.history))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(feed.key(json.loads(line)) for line in done.stdout.splitlines()) == grown.expected()


def test_following_until_sigterm(grown: Feed, tmp_path: Path) -> None:
    """Law: a follower writes what comes, gives up every capability, and ends in order at SIGTERM with 0."""
    to = tmp_path / "out"
    words = ["--history", str(grown.history), "--follow", "--grace", "0", "--to", str(to), "--since", "2026-01-01"]
    with subprocess.Popen([*VERB, *words], stdin=subprocess.DEVNULL) as child:
        grown.write(1)
        while not to.exists() or len(feed.keys(to)) < len(grown.expected()) + 1:
            assert child.poll() is None
        status = Path(f"/proc/{child.pid}/status").read_text()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    assert "CapEff:\t0000000000000000" in status
    found = feed.keys(to)
    assert sorted(one for one in found if one != ("heartbeat",)) == grown.expected()
    assert found.count(("heartbeat",)) == 1
    assert Path(f"{to}.cursor").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fields", "tiem"], "did you mean time"),
        (["--fields", "time", "-o", "ocsf"], "--fields is for -o jsonl"),
        (["--until", "1h", "--follow"], "--until has no meaning"),
        (["--where", "uid"], "expected COLUMN=VALUE"),
        (["--where", "uid=x"], "type int64"),
        (["--flag", "SETUIDS"], "there are SETUID"),
        (["--rotate-bytes", "many"], "is no size"),
        (["--to", "https://user:secret@host/"], "--token-file"),
        (["--to", "http://192.0.2.1/", "--token-file", "/dev/null"], "over https:// alone"),
        (["--history", "/nowhere"], "no history here"),
    ],
)
def test_words_that_are_wrong(grown: Feed, words: list[str], message: str) -> None:
    """Law: what cannot be meant is refused with 2 and a word of what was expected."""
    done = run("--history", str(grown.history), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_the_cursor_of_a_receiver(grown: Feed, tmp_path: Path) -> None:
    """Law: a receiver's cursor is in the user's state directory, one for each history and receiver."""
    from tests.unit.export.receiver import HttpReceiver

    receiver = HttpReceiver()
    receiver.start()
    for _ in range(2):
        to = f"http://127.0.0.1:{receiver.port}/in"
        done = run("--history", str(grown.history), "--to", to, "-o", "ocsf", XDG_STATE_HOME=str(tmp_path / "state"))
        assert (done.returncode, done.stderr) == (0, "")
    receiver.stop()
    assert len(receiver.once()) == len(grown.expected())
    assert len(list((tmp_path / "state/firsthand-export").glob("127.0.0.1-*.cursor"))) == 1
