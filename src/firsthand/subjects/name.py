"""DNS, as the dissector reads it."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.columns import OUTSIDE, PACKET, WHO
from firsthand.subjects.declare import ANSWERS, Subject, SubjectTable, Switch, TimelineRow

_TABLE = SubjectTable(
    "name",
    "DNS: questions and answers with process and pod",
    (
        Column(
            "event",
            "text",
            "question, answer; unanswered: a question to which no answer came within 5 s, at its own time",
        ),
        *PACKET,
        Column("query_id", "int32", "the message's id"),
        Column("name", "text", "the name asked for, lower case, without the last dot"),
        Column("type", "text", "the type asked for: A, AAAA, ..."),
        Column("rcode", "text", "NOERROR, NXDOMAIN, ...; null in questions"),
        Column("records", "list", "every record of the answer: NAME TTL TYPE DATA"),
        Column("addresses", "list", "addresses that the answer gives for the name, aliases followed"),
        Column("ttl", "int32", "least time to live of these", "s"),
        Column("latency", "int64", "from the question to its answer on the same socket", "ns"),
        Column(
            "marks",
            "text",
            "what is remarkable: MALFORMED, LOOP, OVERSIZED, TRUNCATED, UNASKED, FOREIGN_RESOLVER, TUNNEL",
        ),
        Column("reason", "text", "what each mark is for, where it needs a word"),
    ),
    roles={"addresses": ANSWERS},
    kinds=("question", "answer", "unanswered"),
    fills=dict.fromkeys(("rcode", "records", "addresses", "ttl", "latency"), ("answer",)),
    summary=(*WHO, "name", "addresses", "records"),
    facts=OUTSIDE | {"unread": ("name", "marks", "addresses")},
    line=TimelineRow(phrase=("event", "query_id", "name", "type", "rcode", "addresses", "marks")),
)

SUBJECT = Subject(
    "name",
    (_TABLE,),
    switches=(Switch(("names",), "name", "DNS questions and answers were not recorded", "network.names"),),
    rank=50,
)
