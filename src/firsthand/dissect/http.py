"""The head of an HTTP request: HTTP/1 (RFC 9112), or HTTP/2 begun with prior knowledge (RFC 9113, 3.3).

Read from the first bytes of a stream, bounded; a repeated name, and a line that is no header, are malformed. What servers in
use accept is read as they read it: blank lines before the request line (nginx, Node, Apache; RFC 9112, 2.2), methods in lower case
(Apache, Go), several blanks between words (nginx), any HTTP/1 version, and HTTP/0.9, which has no headers (nginx, Apache).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder

#: Of a head at most this much is read, and of its parts so many characters are kept.
HEAD = 16384
METHOD, HOST, PATH, AGENT = 32, 255, 2048, 512
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: What may stand before a request line.
BLANKS = b"\r\n \t"
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_LONGEST = 256  # of a method; what is longer no server takes
#: No blank can be read in two ways, so that what a stranger sends is read in linear time.
_LINE = re.compile(
    rb"(%s{1,%d})[ \t]+([^ \t\r\n]+(?:[ \t]+[^ \t\r\n]+)*?)[ \t]+(?i:HTTP)/(\d{1,3}\.\d{1,3})[ \t]*\r?\n"
    % (_TOKEN, _LONGEST)
)
#: HTTP/0.9: a path and no version.
_OLD = re.compile(rb"(GET|HEAD|POST)[ \t]+((?:/|http://)[^ \t\r\n]*)[ \t]*\r?\n")
#: What may become a request line.
_BEGINS = re.compile(rb"%s{0,%d}(?:[ \t][^\r\n]*\r?)?\Z" % (_TOKEN, _LONGEST))
_KNOWN = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) ([^ \r\n]*)")
_END = re.compile(rb"\r?\n\r?\n")
_ABSOLUTE = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]*://([^/?#]*)([^#]*)")
_HEADERS, _CONTINUATION, _SETTINGS = 1, 9, 4
_PADDED, _PRIORITY, _END_HEADERS = 0x8, 0x20, 0x4
_FRAME = 9


@dataclass
class HttpRequest:
    """A request's head. `whole`: its end was seen; `length` is the head's, where known. `notes`: what is remarkable and allowed."""

    protocol: str | None
    whole: bool = False
    length: int = 0
    method: str | None = None
    host: str | None = None
    path: str | None = None
    agent: str | None = None
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def looks_like(data: bytes) -> bool:
    """Whether a stream may begin with a request."""
    if data[: len(PREFACE)] == PREFACE[: len(data)]:
        return True
    line = data.lstrip(BLANKS)
    if b"\n" in line:
        return bool(_LINE.match(line) or _OLD.match(line))
    return bool(_BEGINS.match(line))


def read(data: bytes, *, keep_query: bool = False) -> HttpRequest | None:
    """The head at the front of a stream, as far as it is there; None where it is no request."""
    if data.startswith(PREFACE):
        return _version2(data, keep_query)
    if PREFACE.startswith(data):
        return None  # too little of it
    head = data.lstrip(BLANKS)
    found = _version1(head, keep_query)
    if found is not None and len(head) < len(data):
        found.length += len(data) - len(head)
        found.notes.append(f"{len(data) - len(head)} blank bytes before the request line")
    return found


def _version1(data: bytes, keep_query: bool) -> HttpRequest | None:
    line = _LINE.match(data)
    if line is None:
        return _version09(data, keep_query) or _unfinished(data, keep_query)
    found = HttpRequest(f"http/{line[3].decode()}", method=line[1][:METHOD].decode())
    if len(line[1]) > METHOD:
        found.notes.append(f"a method of {len(line[1])} characters")
    end = _END.search(data, line.end() - 2, HEAD)
    found.whole, found.length = end is not None, end.end() if end else len(data)
    hosts = _headers(found, data[line.end() : end.start() if end else _last_line(data)])
    _target(found, line[2], hosts[0] if hosts else None, keep_query)
    if len(hosts) > 1:
        found.reasons.append(f"{len(hosts)} Host headers")
    if not hosts and found.whole and line[3] == b"1.1":
        found.reasons.append("HTTP/1.1 without a Host header")
    return found


def _version09(data: bytes, keep_query: bool) -> HttpRequest | None:
    """A request line alone: the whole of it."""
    line = _OLD.match(data)
    if line is None:
        return None
    found = HttpRequest("http/0.9", whole=True, length=line.end(), method=line[1].decode())
    _target(found, line[2], None, keep_query)
    return found


def _last_line(data: bytes) -> int:
    return data.rfind(b"\n", 0, HEAD) + 1


def _unfinished(data: bytes, keep_query: bool) -> HttpRequest | None:
    """A request line that never ends, of a method that everybody knows."""
    known = _KNOWN.match(data)
    if known is None or b"\n" in data[:HEAD]:
        return None
    return HttpRequest(None, length=len(data), method=known[1].decode(), path=_path(known[2], keep_query))


def _headers(found: HttpRequest, block: bytes) -> list[bytes]:
    """Every Host; the User-Agent goes into `found`."""
    hosts: list[bytes] = []
    for line in block.split(b"\n"):
        name, colon, value = line.rstrip(b"\r").partition(b":")
        word = name.lower()
        if line.strip() and (not colon or not re.fullmatch(rb"%s+" % _TOKEN, name)):
            found.reasons.append(f"a header line that is none: {_text(name, 40)!r}")
            return hosts
        if word == b"host":
            hosts.append(value.strip())
        elif word == b"user-agent" and found.agent is None:
            found.agent = _text(value.strip(), AGENT)
    return hosts


def _target(found: HttpRequest, target: bytes, host: bytes | None, keep_query: bool) -> None:
    """Path and host: of the target where it is absolute or names an authority (RFC 9112, 3.2), else of the Host header."""
    absolute = _ABSOLUTE.match(target)
    if absolute:
        host, target = absolute[1], absolute[2] or b"/"
    elif found.method == "CONNECT":
        host, target = target, b""
    found.host = _host(host) if host else None
    found.path = _path(target, keep_query) if target else None


def _host(raw: bytes) -> str:
    """Lower case, without user and port; an IPv6 address without brackets."""
    text = _text(raw.rpartition(b"@")[2], HOST).lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return re.sub(r":\d*$", "", text).removesuffix(".")


def _path(raw: bytes, keep_query: bool) -> str:
    return _text(raw if keep_query else raw.partition(b"?")[0], PATH)


def _text(raw: bytes, most: int) -> str:
    return raw[:most].decode("utf-8", "backslashreplace")


# ---- HTTP/2 ----


def _version2(data: bytes, keep_query: bool) -> HttpRequest:
    found = HttpRequest("h2", length=min(len(data), HEAD))
    try:
        block = _block(data[:HEAD])
        if block is None:
            return found
        found.whole = True
        decoder = Decoder(max_header_list_size=HEAD)
        _fields(found, decoder.decode(block, raw=True), keep_query)
    except Exception as error:  # whatever a hostile block makes of the decoder
        found.whole = True
        found.reasons.append(f"HTTP/2: {str(error) or type(error).__name__}"[:200])
    return found


def _block(data: bytes) -> bytes | None:
    """The header block of the first request, its continuations included; None where it is not all there."""
    found = b""
    for kind, flags, body in _frames(data):
        if kind == _HEADERS:
            begin = 1 if flags & _PADDED else 0
            end = len(body) - (body[0] if flags & _PADDED and body else 0)
            found = body[begin + (5 if flags & _PRIORITY else 0) : max(end, begin)]
        elif kind == _CONTINUATION:
            found += body
        if kind in (_HEADERS, _CONTINUATION) and flags & _END_HEADERS:
            return found
    return None


def _frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at, first = len(PREFACE), True
    while at + _FRAME <= len(data):
        length, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
        if first and kind != _SETTINGS:
            raise ValueError(f"its first frame is of type {kind}, not SETTINGS")
        first = False
        if at + _FRAME + length > len(data):
            return
        yield kind, flags, data[at + _FRAME : at + _FRAME + length]
        at += _FRAME + length


def _fields(found: HttpRequest, fields: Iterable[Any], keep_query: bool) -> None:
    told: dict[bytes, bytes] = {}
    for name, value in fields:
        told.setdefault(bytes(name).lower(), bytes(value))
    found.method = _text(told[b":method"], METHOD) if b":method" in told else None
    host = told.get(b":authority") or told.get(b"host")
    found.host = _host(host) if host else None
    found.path = _path(told[b":path"], keep_query) if b":path" in told else None
    found.agent = _text(told[b"user-agent"], AGENT) if b"user-agent" in told else None
    if not found.method:
        found.reasons.append("HTTP/2: a request without :method")
