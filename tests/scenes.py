"""What happens on a machine, told step by step: pods, processes, connections, names and requests, as the real rows of it.

Times are seconds after `Scene.start`. The rows are those that the observer, the dissector and the follower write; `write` makes a
history of them with the real logs, and the keeper makes segments of it where that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.wire.batch import Batch
from tests.samples import BOOT, HOOKS_PRESENT, NODE, ORDINARY, observer

Row = dict[str, Any]
RESOLVER = "10.96.0.10"
EPHEMERAL = 40_000
#: Rows of one append to a log.
PER_CHUNK = 5_000


@dataclass(frozen=True)
class Pod:
    """A pod with one container; `row` is what every row of its processes has."""

    name: str
    namespace: str
    address: str | None
    uid: str
    sandbox: str
    container: str
    workload: str | None

    @property
    def row(self) -> Row:
        """As the kernel's side tells it: ids, and no name."""
        return {"container": self.container, "pod_uid": self.uid, "ns_net": 4026540000 + int(self.uid[-4:], 16)}


HOST: Row = {"container": None, "ns_net": 4026531840}


@dataclass(frozen=True)
class Process:
    """A program image and whose it is."""

    image: Row
    pod: Pod | None
    exe: str

    @property
    def id(self) -> str:
        """Its exec_id as text."""
        return (
            f"{self.image['boot'][:8]}:{self.image['exec_tgid']}:{self.image['exec_start']}:{self.image['exec_number']}"
        )

    @property
    def row(self) -> Row:
        """What rows about its sockets have of it."""
        return self.image | {"exe": self.exe, "pid": self.image["exec_tgid"]} | (self.pod.row if self.pod else HOST)


@dataclass
class Scene:
    """The rows so far, by table. `node` and `boot` as in samples."""

    start: datetime = field(default_factory=lambda: datetime(2026, 3, 1, 12, tzinfo=UTC))
    node: str = NODE
    boot: str = BOOT
    rows: dict[str, list[Row]] = field(default_factory=dict)
    _number: int = 0
    _seq: int = 0

    def at(self, seconds: float) -> datetime:
        """The moment so many seconds after the start."""
        return self.start + timedelta(seconds=seconds)

    def add(self, table: str, at: float, **values: Any) -> Row:
        """One row, with the common columns."""
        self._seq += 1
        common = {"time": self.at(at), "ktime": int((5_000 + at) * 1e9), "node": self.node, "boot": self.boot}
        row = common | ({"ring": 0, "cpu": 0, "seq": self._seq} if table not in ("pod", "address") else {}) | values
        self.rows.setdefault(table, []).append(row)
        return row

    def number(self) -> int:
        """A number that nothing else has."""
        self._number += 1
        return self._number

    def observed(self, since: float, until: float, hooks: str = HOOKS_PRESENT, **more: Any) -> None:
        """An observer's run."""
        for event, at in (("start", since), ("ready", since), ("stop", until)):
            row = observer(event, self.at(at), node=self.node, boot=self.boot, hooks=hooks, **more)
            self.add("observer", at, **row)

    def pod(
        self,
        name: str,
        address: str | None,
        since: float = 0.0,
        until: float | None = None,
        *,
        namespace: str = "shop",
        workload: str | None = None,
        host_network: bool = False,
        told: float | None = None,
        sure: bool = True,
        removed: float | None = None,
        **more: Any,
    ) -> Pod:
        """A pod as the follower tells it, 0.2 s later (`told`), and its end; `removed`: the kernel says that its cgroup is gone.
        `more`: of its container's row."""
        number = self.number()
        uid, sandbox, container = (
            f"00000000-0000-0000-0000-{number:012x}",
            f"{number:064x}",
            f"{number + (1 << 60):064x}",
        )
        pod = Pod(name, namespace, None if host_network else address, uid, sandbox, container, workload)
        words = {"pod": name, "namespace": namespace, "workload": workload, "pod_uid": uid, "runtime": "containerd"}
        words |= {"since": self.at(since), "socket": "/run/containerd/containerd.sock"}
        own = {"addresses": [address] if address else [], "host_network": host_network, "state": "ready"}
        own |= {"addresses_since": self.at(since) if sure else None}
        said = since + 0.2 if told is None else told
        self.add("pod", said, event="named", container=sandbox, **words, **own)
        self.add(
            "container",
            said,
            event="named",
            container=container,
            container_name="app",
            kind="container",
            **words | more,
        )
        if until is not None:
            self.add("pod", until + 0.3, event="gone", container=sandbox, until=self.at(until), **words, **own)
        if removed is not None:
            path = f"/kubepods/pod{uid}/{sandbox}"
            self.add("container", removed, event="remove", container=sandbox, pod_uid=uid, cgroup_path=path)
        return pod

    def node_address(self, address: str, since: float = -1000.0) -> None:
        """One of the machine's own addresses."""
        self.add(
            "address",
            since,
            event="held",
            kind="node",
            address=address,
            name=self.node,
            source="machine",
            since=self.at(since),
        )

    def process(
        self,
        pod: Pod | None,
        exe: str,
        args: Sequence[str] = (),
        at: float = 0.0,
        *,
        parent: Process | None = None,
        capabilities: int = ORDINARY,
        uid: int = 1000,
        event: str = "exec",
        **values: Any,
    ) -> Process:
        """A program that was executed: the row of its exec."""
        tgid = 1000 + self.number()
        image = {"exec_tgid": tgid, "exec_start": int((5_000 + at) * 1e9) + tgid, "exec_number": 8, "boot": self.boot}
        process = Process(image, pod, exe)
        ancestor = parent.image if parent else {"exec_tgid": 1, "exec_start": 1, "exec_number": 1}
        more = {f"parent_{name}": ancestor[f"exec_{name}"] for name in ("tgid", "start", "number")}
        sets = {f"cap_{name}": capabilities for name in ("permitted", "effective", "bounding")}
        more |= {"args": [exe.rpartition("/")[2], *args], "uid": uid, "euid": uid, "flags": 0, **sets}
        self.add("process", at, event=event, **process.row, **more | values)
        return process

    def exit(self, process: Process, at: float, code: int = 0) -> None:
        """Its end."""
        self.add("process", at, event="exit", **process.row, exit_code=code, duration=10**9)

    def connect(
        self,
        process: Process,
        peer: str,
        port: int = 443,
        at: float = 0.0,
        *,
        lasts: float | None = 0.5,
        sent: int = 500,
        received: int = 2_000,
        outcome: str = "established",
        answered: float = 0.002,
        names: Sequence[str] | None = None,
        nat: tuple[str, int] | None = None,
        local: str | None = None,
        local_port: int | None = None,
        flags: Sequence[str] = (),
        capabilities: int = ORDINARY,
    ) -> int:
        """A TCP connection that this side began: the row of its outcome, and of its end after `lasts` (None: it goes on)."""
        ends = self._ends(process, peer, port, local, local_port or EPHEMERAL + self.number() % 20_000, "tcp")
        row = (
            process.row
            | ends
            | {"cap_permitted": capabilities, "cap_effective": capabilities, "uid": 1000, "euid": 1000}
        )
        row |= {"names": list(names) if names else None, "flag_names": ",".join(flags) or None, "flags": 0}
        row |= {"nat_address": nat[0], "nat_port": nat[1]} if nat else {}
        if answered >= 1:
            self.add("connection", at + 1.0, event="connect", outcome="started", duration=10**9, **row)
        self.add("connection", at + answered, event="connect", outcome=outcome, duration=int(answered * 1e9), **row)
        if outcome == "established" and lasts is not None:
            self.close(row, at, lasts, sent, received)
        return int(row["cookie"])

    def accept(
        self,
        process: Process,
        peer: str,
        port: int,
        at: float = 0.0,
        *,
        peer_port: int | None = None,
        lasts: float | None = 0.5,
        sent: int = 2_000,
        received: int = 500,
        local: str | None = None,
        listener: Process | None = None,
        capabilities: int = ORDINARY,
        flags: Sequence[str] = (),
    ) -> int:
        """A TCP connection that the peer began."""
        opener = (listener or process).image
        row = process.row | self._ends(
            process, peer, peer_port or EPHEMERAL + self.number() % 20_000, local, port, "tcp"
        )
        row |= {f"opener_{name}": opener[f"exec_{name}"] for name in ("tgid", "start", "number")}
        row |= {
            "flag_names": ",".join((*flags, "INCOMING")),
            "cap_permitted": capabilities,
            "cap_effective": capabilities,
        }
        self.add("connection", at + 0.001, event="accept", outcome="established", duration=10**6, **row)
        if lasts is not None:
            self.close(row, at, lasts, sent, received)
        return int(row["cookie"])

    def close(self, row: Row, at: float, lasts: float, sent: int, received: int) -> None:
        """The end of a connection that began at `at`."""
        counters = {"bytes_sent": sent, "bytes_received": received, "segments_sent": 1 + sent // 1400}
        counters |= {"segments_received": 1 + received // 1400, "retransmits": 0, "rtt": 900}
        whole = row | counters | {"duration": int(lasts * 1e9)}
        self.add("connection", at + lasts, event="close", outcome="closed", **whole)

    def flow(
        self,
        process: Process,
        peer: str,
        port: int,
        at: float = 0.0,
        *,
        lasts: float | None = 0.05,
        sent: int = 48,
        received: int = 48,
        packets: int = 1,
        incoming: bool = False,
        local_port: int | None = None,
        names: Sequence[str] | None = None,
        transport: str = "udp",
    ) -> int:
        """A flow of datagrams: its end alone where it is short, else its beginning too (`lasts` None: it goes on)."""
        row = process.row | self._ends(
            process, peer, port, None, local_port or EPHEMERAL + self.number() % 20_000, transport
        )
        row |= {"flag_names": "INCOMING" if incoming else None, "names": list(names) if names else None}
        if lasts is None or lasts > 1:
            self.add("connection", at + 1.5, event="accept" if incoming else "connect", duration=int(1.5e9), **row)
            row["flag_names"] = "INCOMING,BEGUN" if incoming else "BEGUN"
        if lasts is None:
            return int(row["cookie"])
        counters = {
            "bytes_sent": sent,
            "bytes_received": received,
            "segments_sent": packets,
            "segments_received": packets,
        }
        row |= counters | {"duration": int(lasts * 1e9), "outcome": "closed"}
        self.add("connection", at + lasts, event="close", **row)
        return int(row["cookie"])

    def listen(self, process: Process, address: str, port: int, at: float = 0.0, until: float | None = None) -> int:
        """A listener, and its end."""
        row = process.row | self._ends(process, None, None, address, port, "tcp")
        row |= {"cap_permitted": ORDINARY, "cap_effective": ORDINARY}
        self.add("connection", at, event="listen", **row)
        if until is not None:
            self.add("connection", until, event="close", flag_names="LISTENING", **row)
        return int(row["cookie"])

    def ask(
        self,
        process: Process,
        name: str,
        addresses: Sequence[str] = (),
        at: float = 0.0,
        *,
        alias: str | None = None,
        rcode: str = "NOERROR",
        ttl: int = 30,
        resolver: str = RESOLVER,
        marks: str | None = None,
    ) -> None:
        """A question to a resolver and its answer, and the flow that they are; `alias` is what the name stands for."""
        ends = self._ends(process, resolver, 53, None, EPHEMERAL + self.number() % 20_000, "udp")
        kind = "AAAA" if addresses and ":" in addresses[0] else "A"
        common = process.row | ends | {"name": name, "type": kind, "query_id": self.number() % 65_536, "marks": marks}
        self.add("name", at, event="question", direction="out", **common)
        holder = alias or name
        records = [f"{name} {ttl} CNAME {alias.title()}."] if alias else []  # as its sender spells it
        records += [f"{holder} {ttl} {kind} {one}" for one in addresses]
        self.add(
            "connection",
            at + 0.02,
            event="close",
            outcome="closed",
            duration=2 * 10**7,
            **_flow(process.row | ends, name),
        )
        answer = {"rcode": rcode, "records": records, "addresses": list(addresses), "ttl": ttl if addresses else None}
        self.add("name", at + 0.01, event="answer", direction="in", latency=10**7, **common, **answer)

    def request(self, process: Process, cookie: int, peer: str, port: int, at: float = 0.0, **values: Any) -> None:
        """The head of a stream: `sni` or `host` and what else is known."""
        event = "tls" if "ja4" in values or "sni" in values or "ech" in values else "http"
        ends = self._ends(process, peer, port, None, EPHEMERAL, "tcp") | {"cookie": cookie}
        self.add("request", at, event=event, direction="out", **(process.row | ends | values))

    def each_day(self) -> None:
        """What lives is told anew each day, as the follower does."""
        last = max(row["time"] for rows in self.rows.values() for row in rows)
        for table, key in (("pod", "container"), ("address", "address")):
            rows = self.rows.get(table, [])
            gone = {row[key]: row["until"] for row in rows if row["event"] == "gone"}
            for row in [row for row in rows if row["event"] != "gone"]:
                until = min(gone.get(row[key], last), last)
                days = int((until - row["time"]) / timedelta(days=1))
                rows += [row | {"time": row["time"] + timedelta(days=day + 1)} for day in range(days)]

    def _ends(
        self, process: Process, peer: str | None, port: int | None, local: str | None, local_port: int, transport: str
    ) -> Row:
        own = local or (process.pod.address if process.pod and process.pod.address else "192.168.7.2")
        ends = {
            "cookie": self.number() + 7_000_000,
            "local_address": own,
            "local_port": local_port,
            "transport": transport,
        }
        return ends | {"peer_address": peer, "peer_port": port}

    def write(
        self, directory: Path, *, kept: bool = False, per_chunk: int | None = None, each_day: bool = True
    ) -> Path:
        """A history of all rows, in the order of their times; `kept`: as segments; `each_day`: what lives is told each day."""
        if each_day:
            self.each_day()
        names = {table: self.rows.pop(table) for table in ("pod", "address") if table in self.rows}
        told = [row for row in self.rows.get("container", ()) if row["event"] in ("named", "gone")]
        if told:
            self.rows["container"] = [row for row in self.rows["container"] if row not in told]
            names["container"] = told
        _append(directory, place.NAMES, names, self, per_chunk or PER_CHUNK)
        _append(directory, place.LOG, self.rows, self, per_chunk or PER_CHUNK)
        if kept:
            keeper = Keeper(directory)
            keeper.pass_once(last=True)
            keeper.close()
        return directory


def _flow(row: Row, name: str) -> Row:
    """The flow of a question and its answer."""
    numbers = {
        "segments_sent": 1,
        "segments_received": 1,
        "bytes_sent": 30 + len(name),
        "bytes_received": 60 + len(name),
    }
    return row | numbers | {"names": None}


def _append(directory: Path, folder: str, tables: dict[str, list[Row]], scene: Scene, per_chunk: int) -> None:
    with LogWriter(directory, scene.node, scene.boot, folder=folder) as log:
        for table, rows in tables.items():
            ordered = sorted(rows, key=lambda row: row["time"])
            for first in range(0, len(ordered), per_chunk):
                log.append([Batch.from_rows(table, ordered[first : first + per_chunk])], [])
