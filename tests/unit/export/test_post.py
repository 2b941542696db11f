"""export/post.py: batches to real receivers, over HTTP and TLS, through everything that they may do."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from firsthand.errors import ExportError
from firsthand.export import jsonl, post
from firsthand.export.choice import Choice
from firsthand.export.cursor import Cursor
from firsthand.export.exporter import Exporter, ExportPlan
from firsthand.export.post import Posted
from tests.unit.export import feed
from tests.unit.export.feed import Feed
from tests.unit.export.receiver import HttpReceiver


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    """A receiver that listens."""
    found = HttpReceiver()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def grown(tmp_path: Path) -> Feed:
    """A history of three chunks."""
    found = Feed(tmp_path / "history")
    found.write(3)
    return found


def send(
    grown: Feed, folder: Path, to: str, wait: Callable[[float], bool] = lambda _: False, **options: object
) -> Cursor:
    """One run to the end of what is there."""
    cursor = Cursor(folder / "cursor", grown.history)
    receiver = post.Receiver(urlsplit(to), **options)  # type: ignore[arg-type]
    output = Posted(receiver, folder / "cursor.batch", cursor.state.identity, wait)
    exporter = Exporter(grown.history, cursor, output, jsonl, Choice(), ExportPlan())
    try:
        exporter.run(wait)
    finally:
        exporter.close()
    return cursor


def keys(receiver: HttpReceiver) -> list[tuple[object, ...]]:
    return sorted(feed.key(json.loads(line)) for line in receiver.once())


def test_every_row_is_posted(grown: Feed, tmp_path: Path, receiver: HttpReceiver) -> None:
    """Law: bodies are whole lines, none larger than asked for, each under a key of its own; nothing is left on disk."""
    (tmp_path / "token").write_text("s3cret\n")
    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/in?a=b", token=tmp_path / "token", most=20_000)
    assert keys(receiver) == grown.expected()
    assert len({one.key for one in receiver.taken}) == len(receiver.taken) > 3
    assert max(len(one.body) for one in receiver.taken) <= 20_000
    assert all(one.body.endswith(b"\n") for one in receiver.taken)
    first = receiver.taken[0]
    assert (first.path, first.headers["Authorization"]) == ("/in?a=b", "Bearer s3cret")
    assert first.headers["Content-Type"] == "application/x-ndjson"
    assert not list(tmp_path.glob("cursor.batch*"))


def test_a_receiver_that_is_down(grown: Feed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Law: while nobody answers one batch waits on disk and the cursor does not move; it goes out once somebody does."""
    receiver = HttpReceiver()
    receiver.start()
    receiver.stop()
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 4:
            assert len(list(tmp_path.glob("cursor.batch-*"))) == 1
            receiver.start(port=receiver.port)
        return False

    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/", wait)
    receiver.stop()
    assert keys(receiver) == grown.expected()
    assert pauses[3] > pauses[0]
    assert "no answer" in capsys.readouterr().err


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_answers_that_may_pass(grown: Feed, tmp_path: Path, receiver: HttpReceiver, status: int) -> None:
    """Law: a receiver that cannot take a post now is asked again, with the same key."""
    receiver.answers = [status, status]
    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/")
    assert receiver.refused == 2
    assert keys(receiver) == grown.expected()


@pytest.mark.parametrize("status", [400, 401, 404, 413, 301, 307])
def test_answers_that_need_somebody(grown: Feed, tmp_path: Path, receiver: HttpReceiver, status: int) -> None:
    """Law: a refusal ends the run with the reason, and the next run sends what was refused."""
    receiver.answers = [status]
    with pytest.raises(ExportError, match=str(status)):
        send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/")
    assert receiver.taken == []
    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/")
    assert keys(receiver) == grown.expected()


def test_a_post_that_was_taken_and_not_answered(grown: Feed, tmp_path: Path, receiver: HttpReceiver) -> None:
    """Law: where the answer got lost the post comes again, the same bytes under the same key."""
    receiver.deaf = 1
    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/")
    again = [one for one in receiver.taken if one.key == receiver.taken[0].key]
    assert len(again) == 2
    assert again[0].body == again[1].body
    assert keys(receiver) == grown.expected()


def test_a_run_that_ended_before_the_receiver_answered(grown: Feed, tmp_path: Path, receiver: HttpReceiver) -> None:
    """Law: told to end, a run leaves its batch; the next one sends the same bytes under the same key, then the rest."""
    receiver.answers = [503]
    cursor = send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/", lambda seconds: seconds > 0)
    assert cursor.state.output["pending"] is True
    (waiting,) = tmp_path.glob("cursor.batch-*")
    kept = waiting.read_bytes()
    grown.write(1)
    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/")
    assert receiver.taken[0].body == kept
    assert keys(receiver) == grown.expected()


def test_a_batch_that_is_gone(grown: Feed, tmp_path: Path, receiver: HttpReceiver) -> None:
    """Law: a cursor that waits for a batch which somebody removed is an error, not a silent gap."""
    receiver.answers = [503]
    send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/", lambda seconds: seconds > 0)
    for path in tmp_path.glob("cursor.batch-*"):
        path.unlink()
    with pytest.raises(ExportError, match="is gone"):
        send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/")


def test_tls_is_verified(grown: Feed, tmp_path: Path) -> None:
    """Law: a certificate of an unknown authority is refused, and taken with that authority's certificate, for its name alone."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    receiver = HttpReceiver()
    receiver.start(context)
    with pytest.raises(ExportError, match="certificate is not trusted"):
        send(grown, tmp_path, f"https://127.0.0.1:{receiver.port}/")
    with pytest.raises(ExportError, match="certificate is not trusted"):
        send(grown, tmp_path, f"https://localhost:{receiver.port}/", ca=tmp_path / "ca.pem")
    assert receiver.taken == []
    send(grown, tmp_path, f"https://127.0.0.1:{receiver.port}/", ca=tmp_path / "ca.pem")
    receiver.stop()
    assert keys(receiver) == grown.expected()


def test_files_that_cannot_be_read(grown: Feed, tmp_path: Path, receiver: HttpReceiver) -> None:
    """Law: a token or an authority that cannot be read is an error that names the file."""
    with pytest.raises(ExportError, match="no-token"):
        send(grown, tmp_path, f"http://127.0.0.1:{receiver.port}/", token=tmp_path / "no-token")
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ExportError, match=r"empty\.pem"):
        send(grown, tmp_path, f"https://127.0.0.1:{receiver.port}/", ca=tmp_path / "empty.pem")
