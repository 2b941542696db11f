"""reader/messages.py: each message is what its type says, or it is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from firsthand.ask.answer import Answer, Completeness, Found, Request, Window
from firsthand.reader import messages
from firsthand.reader.messages import Asked, Caller, Said

_MOMENT = datetime(2026, 5, 1, tzinfo=UTC)
_CALLER = Caller("/var/lib/firsthand", ("/etc/firsthand/config.toml", "x = 1\n"), "Europe/Berlin")
_ANSWER = Answer(
    "processes", "Yes", Found("Yes", [], 3), Completeness(False, [(_MOMENT, _MOMENT)], None, 3, 0, ["spot"], ["why"]), Window(_MOMENT, _MOMENT)
)  # fmt: skip


@pytest.mark.parametrize(
    ("message", "of"),
    [
        (
            messages.QuestionMessage(
                _CALLER, Request("processes", ("exe~sh",), since=_MOMENT, without=("a",)), "parquet"
            ),
            Asked,
        ),
        (messages.Statement(Caller("/x", None, None), "SELECT 1"), Asked),
        (messages.Hello("0.1 1:2:3", 64768, 1 << 40), messages.Hello),
        (messages.Welcome(7), Said),
        (messages.Refused("another version"), Said),
        (messages.Alive(), Said),
        (messages.Answered(_ANSWER), Said),
        (messages.RowsMessage([[1, "a", None]]), Said),
        (messages.File(b"PAR1"), Said),
        (messages.Done(["a part"], 5, None), Said),
        (messages.Failed("UsageError", "no such column"), Said),
    ],
)
def test_a_message_comes_back_as_it_was(message: Any, of: Any) -> None:
    """With its times, its nulls and what has a default."""
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=of) == message


@pytest.mark.parametrize(
    ("said", "of"),
    [
        ({"type": "Welcome"}, Said),
        ({"type": "Welcome", "pid": "7"}, Said),
        ({"type": "Nonsense"}, Said),
        ({"pid": 7}, Said),
        ({"type": "Statement", "caller": {}, "text": "x"}, Asked),
        ({"type": "Question", "caller": {"directory": "/x", "settings": None, "zone": None}, "request": {}}, Asked),
        ({"type": "Welcome", "pid": 7}, Asked),
        ({"type": "Hello", "build": "x", "device": -0.5, "inode": 1}, messages.Hello),
        ([1, 2], Said),
        (None, Asked),
    ],
)
def test_what_is_no_message_is_refused(said: Any, of: Any) -> None:
    """A member that is missing or of another type, another side's message, anything else."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=of)


def test_a_newer_member_hurts_nobody() -> None:
    """It is left, as in a message of the next version."""
    raw = msgspec.msgpack.encode({"type": "Alive", "line": "half", "later": [1]})
    assert msgspec.msgpack.decode(raw, type=Said) == messages.Alive("half")
