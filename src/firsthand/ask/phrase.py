"""What a socket did, in a line: the same words in `run`, `tail`, `ask tree` and `ask connected --tree`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firsthand.ask import show
from firsthand.ask.answer import folded

Row = Mapping[str, Any]
_ARROWS = {"out": "→", "in": "←", None: "↔"}
#: Names of one peer that a line shows.
_NAMES = 2


def of(row: Row) -> str:
    """A row of `connection`, `name` or `request`, or one that a question made of several. Harmless."""
    if row.get("records") is not None or row.get("query_id") is not None or row.get("what") in ("asked", "served"):
        return _lookup(row)
    if row.get("protocol") is not None and row.get("transport") and row.get("outcome") is None and "what" not in row:
        return _head(row)
    return connection(row)


def direction(row: Row) -> str | None:
    """Who began it: this side (out) or the peer (in); None where that is not known."""
    flags = (row.get("flag_names") or "").split(",")
    if row.get("direction"):
        return str(row["direction"])
    if row.get("event") == "connect":
        return "out"
    if row.get("event") == "accept" or "INCOMING" in flags:
        return "in"
    return None if "BEFORE" in flags else "out"


def connection(row: Row) -> str:
    """Whom a socket talked with, how it went, and how much."""
    event, flags = row.get("event"), (row.get("flag_names") or "").split(",")
    own = show.end(row.get("local_address"), row.get("local_port"))
    if event == "listen" or "LISTENING" in flags:
        return f"{'stops listening' if event == 'close' else 'listens'} on {own or _path(row)}"
    if event == "open":
        return f"opens a {row['transport']} socket"
    arrow = _ARROWS[direction(row)]
    peer = show.end(row.get("peer_address"), row.get("peer_port")) or _path(row)
    words = [arrow, peer, *_label(row), _outcome(row), _bytes(row), folded(dict(row)) or ""]
    if arrow == "←" and own:
        words.insert(2, f"on {own}")
    if row.get("transport") == "udp":
        words.insert(1, "udp")
    return " ".join(word for word in words if word)


def _path(row: Row) -> str:
    return f"unix:{show.printable(row.get('path') or '?')}"


def _label(row: Row) -> list[str]:
    """Who the peer is, in brackets: the pod that held its address, the names asked for, or what translated it."""
    found = [show.end(row["nat_address"], row.get("nat_port"))] if row.get("nat_address") else []
    if row.get("peer_pod"):
        found.append("/".join(filter(None, (row.get("peer_namespace"), row["peer_pod"]))))
    elif row.get("peer_kind") in ("node", "container", "service"):
        found.append(f"{row['peer_kind']} {row.get('peer_name') or row.get('peer_workload') or ''}".strip())
    found += (row.get("names") or [row.get("sni") or row.get("host")])[:_NAMES]
    told = [show.printable(str(one)) for one in found if one]
    return [f"({', '.join(told)})"] if told else []


def _outcome(row: Row) -> str:
    if row.get("event") == "taken":
        return "taken over"
    if row.get("event") == "seen":
        return "open before"
    return str(row.get("outcome") or "")


def _bytes(row: Row) -> str:
    if row.get("bytes_sent") is None or row.get("event") in ("connect", "accept", "seen", "taken"):
        return ""
    return f"{show.size(row['bytes_sent'])} out, {show.size(row['bytes_received'] or 0)} in"


def _lookup(row: Row) -> str:
    name = show.printable(str((row.get("names") or [row.get("name")])[0] or "?"))
    answer = row.get("outcome") or row.get("rcode") or ("asked" if row.get("event") == "question" else "")
    found = " ".join((row.get("addresses") or [])[:4])
    marks = (row.get("marks") or "").replace(",", " ")
    return " ".join(word for word in ("?", row.get("type") or "", name, str(answer), found, marks) if word)


def _head(row: Row) -> str:
    place = f"{row.get('host') or row.get('sni') or '?'}{row.get('url_path') or ''}"
    marks = (row.get("marks") or "").replace(",", " ")
    words = ("»", row.get("method") or row["protocol"], show.printable(place), row.get("ja4") or "", marks)
    return " ".join(word for word in words if word)
