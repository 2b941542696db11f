"""A TLS ClientHello (RFC 8446, 4.1.2) and its JA4 fingerprint, read from the first bytes of a stream.

Every length is held against what is there. A field that cannot be read ends the reading; what was read before stays.
JA4: github.com/FoxIO-LLC/ja4, technical_details/JA4.md (BSD 3-clause, as JA4 alone of that family is).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

#: Of a ClientHello at most this much is read: the largest record of TLS.
HELLO = 16384
#: Protocols of ALPN; each has at most 255 bytes.
PROTOCOLS = 16
_RECORD, _HANDSHAKE = 5, 4
#: Bytes by which a ClientHello is told from anything else.
FIRST = 6
_ALERT_TYPE, _HANDSHAKE_TYPE, _CLIENT_HELLO = 21, 22, 1
_SERVER_NAME, _SIGNATURES, _ALPN, _VERSIONS, _ECH = 0x0000, 0x000D, 0x0010, 0x002B, 0xFE0D
_TLS = {
    0x0304: "TLS 1.3",
    0x0303: "TLS 1.2",
    0x0302: "TLS 1.1",
    0x0301: "TLS 1.0",
    0x0300: "SSL 3.0",
    0x0002: "SSL 2.0",
}
_JA4 = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "0" * 12


class Malformed(ValueError):
    """Bytes that contradict the protocol."""


@dataclass
class ClientHello:
    """What one ClientHello offers. `whole`: all of it was read; only then is what it lacks known to be absent."""

    length: int = 0
    whole: bool = False
    version: int = 0
    ciphers: list[int] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    signatures: list[int] = field(default_factory=list)
    alpn: list[bytes] = field(default_factory=list)
    sni: str | None = None
    reason: str | None = None

    @property
    def ech(self) -> bool:
        """Whether a part of it is encrypted, or made to look so."""
        return _ECH in self.extensions

    @property
    def highest(self) -> int:
        """The highest version that it offers, reserved values aside."""
        offered = [one for one in self.versions if not is_grease(one)]
        return max(offered) if offered else self.version

    @property
    def version_name(self) -> str:
        """The highest version offered, by name."""
        return _TLS.get(self.highest, f"0x{self.highest:04x}")

    @property
    def ja4(self) -> str:
        """The fingerprint: `t13d1516h2_8daaf6152771_e5627efa2ab1`."""
        ciphers = [one for one in self.ciphers if not is_grease(one)]
        extensions = [one for one in self.extensions if not is_grease(one)]
        return (
            f"t{_JA4.get(self.highest, '00')}{'d' if _SERVER_NAME in extensions else 'i'}"
            f"{min(len(ciphers), 99):02}{min(len(extensions), 99):02}{_ends(self.alpn)}"
            f"_{_hash(_hex(sorted(ciphers)))}_{_hash(self._ja4_c(extensions))}"
        )

    def _ja4_c(self, extensions: list[int]) -> str:
        found = _hex(sorted(one for one in extensions if one not in (_SERVER_NAME, _ALPN)))
        signatures = [one for one in self.signatures if not is_grease(one)]
        return f"{found}_{_hex(signatures)}" if found and signatures else found


def _hex(values: list[int]) -> str:
    return ",".join(f"{one:04x}" for one in values)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING


def _ends(alpn: list[bytes]) -> str:
    """First and last character of the first protocol; of its hexadecimal digits where one of them is no ASCII letter or digit."""
    first = alpn[0] if alpn else b""
    if not first:
        return "00"
    ends = first[:1] + first[-1:]
    return ends.decode() if ends.isalnum() else f"{first.hex()[0]}{first.hex()[-1]}"


def is_grease(value: int) -> bool:
    """Reserved so that nobody relies on unknown values being absent (RFC 8701): 0x0a0a, 0x1a1a, ... 0xfafa."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def looks_like(data: bytes) -> bool:
    """Whether a stream may begin with a ClientHello: as far as it is there, a handshake record that holds one.

    Empty records and alerts may come before it: OpenSSL takes the former, Go's TLS the latter.
    """
    rest = data[_passed_over(data) :]
    if len(rest) < _RECORD:
        return rest[:1] in (b"", b"\x15", b"\x16") and rest[1:2] in (b"", b"\3")
    return rest[0] == _HANDSHAKE_TYPE and rest[1] == 3 and rest[_RECORD : _RECORD + 1] in (b"", b"\1")


def _passed_over(data: bytes) -> int:
    """Bytes of whole records before the ClientHello that hold nothing of it."""
    at = 0
    while at + _RECORD <= len(data) and data[at + 1] == 3:
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if not (data[at] == _ALERT_TYPE and length <= 2) and not (data[at] == _HANDSHAKE_TYPE and not length):
            break
        at += _RECORD + length
    return min(at, len(data))


def read(data: bytes) -> ClientHello:
    """The ClientHello at the front of a stream, as far as it is there; `whole` where it is there and well formed."""
    found = ClientHello()
    try:
        message = _handshake(data)
        if len(message) < _HANDSHAKE:
            return found
        found.length = _HANDSHAKE + int.from_bytes(message[1:4], "big")
        if message[0] != _CLIENT_HELLO:
            raise Malformed(f"handshake message {message[0]} where a ClientHello was expected")
        end = min(found.length, HELLO)
        body = _Cursor(message[_HANDSHAKE:end], complete=len(message) >= found.length and found.length <= HELLO)
        _body(found, body)
        found.whole = body.complete
    except Malformed as error:
        found.reason = str(error)
    except _Ended:
        pass
    return found


def _handshake(data: bytes) -> bytes:
    """The handshake's bytes out of the records that hold them."""
    found, at = bytearray(), _passed_over(data)
    while at + _RECORD <= len(data) and len(found) < HELLO:
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE_TYPE or data[at + 1] != 3:
            if _is_told(found):
                break  # what comes behind it
            raise Malformed(f"a record of type {data[at]} within the ClientHello")
        if length > HELLO + 256:
            raise Malformed(f"a handshake record of {length} bytes")
        found += data[at + _RECORD : at + _RECORD + length]
        at += _RECORD + length
    return bytes(found)


def _is_told(message: bytearray) -> bool:
    return len(message) >= _HANDSHAKE and len(message) >= _HANDSHAKE + int.from_bytes(message[1:4], "big")


class _Ended(Exception):
    """What is there ends here, and more was sent."""


class _Cursor:
    """Bytes read from the front; where `complete`, that they end too early is malformed."""

    def __init__(self, data: bytes, *, complete: bool) -> None:
        self.data, self.at, self.complete = data, 0, complete

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            if self.complete:
                raise Malformed(f"{size} bytes are told at byte {self.at} of {len(self.data)}")
            raise _Ended
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def within(self, size: int) -> _Cursor:
        """The bytes behind a length of `size` bytes: they end where that says."""
        length = self.number(size)
        if self.at + length > len(self.data) and not self.complete:
            rest = _Cursor(self.data[self.at :], complete=False)
            self.at = len(self.data)
            return rest
        return _Cursor(self.take(length), complete=True)

    def numbers(self, size: int) -> list[int]:
        """All that is left, as numbers of two bytes each."""
        found = []
        while self:
            found.append(self.number(size))
        return found


def _body(found: ClientHello, body: _Cursor) -> None:
    found.version = body.number(2)
    body.take(32)
    body.within(1)
    ciphers = body.within(2)
    found.ciphers = ciphers.numbers(2)
    body.within(1)
    if not body and body.complete:
        return  # without extensions, as before TLS 1.2
    extensions = body.within(2)
    while extensions:
        kind = extensions.number(2)
        found.extensions.append(kind)
        content = extensions.within(2)
        _extension(found, kind, content)
    if body and body.complete:
        raise Malformed(f"{len(body.data) - body.at} bytes behind the extensions")
    if not extensions.complete:
        raise _Ended


def _extension(found: ClientHello, kind: int, content: _Cursor) -> None:
    if kind == _SERVER_NAME and content:
        found.sni = _server_name(content)
    elif kind == _SIGNATURES:
        found.signatures = content.within(2).numbers(2)
    elif kind == _VERSIONS:
        found.versions = content.within(1).numbers(2)
    elif kind == _ALPN:
        names = content.within(2)
        while names and len(found.alpn) < PROTOCOLS:
            name = names.within(1)
            if not name.complete:
                raise _Ended
            found.alpn.append(name.data)


def _server_name(content: _Cursor) -> str | None:
    """The one host name (RFC 6066, 3): lower case, bytes that are not ASCII escaped."""
    names = content.within(2)
    while names:
        kind, name = names.number(1), names.within(2)
        if not name.complete:
            raise _Ended
        if kind == 0 and name.data:
            return name.data[:255].decode("ascii", "backslashreplace").lower().removesuffix(".")
    return None
