"""Heads of TLS and HTTP, as the dissector reads them."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.columns import OUTSIDE, PACKET, WHO
from firsthand.subjects.declare import SECRET, Hook, Subject, SubjectTable, Switch, TimelineRow

_TLS = ("sni", "ech", "alpn", "tls_version", "ja4")
_HTTP = ("method", "host", "url_path", "user_agent")
_TABLE = SubjectTable(
    "request",
    "Heads of TLS and HTTP: the name asked for, inside and outside",
    (
        Column("event", "text", "tls: a ClientHello; http: a request's head"),
        *PACKET,
        Column("protocol", "text", "tls, http/1.0, http/1.1, h2 (prior knowledge)"),
        Column("sni", "text", "server name of the ClientHello; null: none was sent, or it is encrypted (ech)"),
        Column("ech", "bool", "the ClientHello has an encrypted part: `sni` is the outer one"),
        Column("alpn", "list", "protocols that the client offers"),
        Column("tls_version", "text", "highest version offered"),
        Column("ja4", "text", "JA4 fingerprint of the ClientHello"),
        Column("method", "text", "HTTP method"),
        Column("host", "text", "Host or :authority, lower case, without the port"),
        Column("url_path", "text", "path, redacted; the query is cut unless a setting keeps it"),
        Column("user_agent", "text", "User-Agent, redacted"),
        Column("marks", "text", "what is remarkable: FRONTED, NO_SNI, MALFORMED, TRUNCATED"),
        Column("reason", "text", "what each mark is for, where it needs a word"),
        Column("redacted", "bool", "something in path or user agent was replaced before it reached the disk"),
        Column("redaction", "text", "names of the redaction patterns that matched, comma separated"),
        Column("within_tls", "bool", "the head was given to libssl: it went out encrypted (setting network.plaintext)"),
    ),
    roles={"url_path": SECRET, "user_agent": SECRET},
    kinds=("tls", "http"),
    fills=dict.fromkeys(_TLS, ("tls",)) | dict.fromkeys(_HTTP, ("http",)),
    summary=(*WHO, "sni", "host", "ja4"),
    facts=OUTSIDE | {"unread": ("sni", "host", "marks")},
    line=TimelineRow(phrase=("event", "transport", "protocol", "method", "sni", "host", "url_path", "ja4", "marks")),
)

#: Uprobes on libssl, attached in each library that a user names.
PLAIN = Hook("plain_write", "plain", ("plain_write",), "request", "what the named TLS libraries are given to encrypt")
PLAIN_FUNCTIONS = ("SSL_write", "SSL_write_ex")

SUBJECT = Subject(
    "request",
    (_TABLE,),
    switches=(Switch(("requests",), "request", "heads of TLS and HTTP were not recorded", "network.requests"),),
    rank=60,
)
