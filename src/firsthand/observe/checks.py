"""The observer's end of the checker's socket: reports as rows of `content`, each held against its type and bounds."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from typing import Annotated, Any, Literal

import msgspec

#: Reports taken at one look, each second; bytes of one. More wait in the socket, and the checker waits with them.
MOST, BYTES = 256, 1 << 15

_Text = Annotated[str, msgspec.Meta(max_length=16_384)]
_Word = Annotated[str, msgspec.Meta(max_length=256)]
_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
#: Microseconds since 1970; a file's times may be before that.
_Moment = Annotated[int, msgspec.Meta(ge=-(1 << 60), le=1 << 60)]


class BeatReport(msgspec.Struct, tag_field="event", tag="beat", forbid_unknown_fields=True):
    """It gets on."""


class DiffersReport(msgspec.Struct, tag_field="event", tag="differs", forbid_unknown_fields=True):
    """Columns of `content`."""

    path: _Text
    kind: _Word
    until: _Moment
    since: _Moment | None
    filesystem: _Word
    file_device: _Word
    file_inode: _Number
    size: _Number
    resident: _Number
    changed: _Moment
    modified: _Moment
    cached_sha256: _Hash
    disk_sha256: _Hash
    first_offset: _Number
    bytes_differ: _Number


class SameReport(msgspec.Struct, tag_field="event", tag="same", forbid_unknown_fields=True):
    """Columns of `content`."""

    path: _Text
    kind: _Word
    until: _Moment


class ListedReport(msgspec.Struct, tag_field="event", tag="listed", forbid_unknown_fields=True):
    """Columns of `content`."""

    path: _Text
    kind: _Word
    state: Literal["checked", "differs", "unchecked", "absent", "off"]
    reason: _Word | None


class RoundReport(msgspec.Struct, tag_field="event", tag="round", forbid_unknown_fields=True):
    """Columns of `content`."""

    since: _Moment
    until: _Moment
    checked: _Number
    differing: _Number
    unchecked: _Number
    every: _Number
    reasons: _Text


_decoder = msgspec.json.Decoder(BeatReport | DiffersReport | SameReport | ListedReport | RoundReport)


class Checks:
    """Rows from the checker that there is now; `peer` None: never any. `heard`: when it last sent anything, microseconds; 0: never."""

    def __init__(self, peer: socket.socket | None) -> None:
        self._peer = peer
        self.heard = 0

    def rows(self) -> list[dict[str, Any]]:
        """What came since the last look. The process that sends no report is heard no more."""
        found: list[dict[str, Any]] = []
        for _ in range(MOST):
            with contextlib.suppress(BlockingIOError):
                data = self._received()
                if data is None:
                    break
                self.heard = time.time_ns() // 1000
                report = _report(data)
                if report is not None:
                    found.append(report)
                continue
            break
        return found

    def _received(self) -> bytes | None:
        """One report; None where no process is left that sends one. BlockingIOError where there is none now."""
        if self._peer is None:
            return None
        try:
            data = self._peer.recv(BYTES, socket.MSG_DONTWAIT)
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            return None
        return data

    def close(self) -> None:
        """Hear nothing more."""
        if self._peer is not None:
            self._peer.close()
        self._peer = None


def _report(data: bytes) -> dict[str, Any] | None:
    """Columns by name; None for a sign of life, and for what is no report."""
    try:
        found = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        print(f"observer: the checker sent what is no report: {error}", file=sys.stderr, flush=True)
        return None
    return None if isinstance(found, BeatReport) else msgspec.to_builtins(found)
