"""`privileged`: pods whose processes hold more capabilities than an ordinary one's, beside what was declared of them.

What was declared comes from the runtime, what was granted, held and used from the kernel at each exec: where the two differ, the
row says in what. A container outside any pod counts for itself.
"""

from __future__ import annotations

from typing import Any

from firsthand.ask.answer import Asked, Found, cut
from firsthand.ask.question import Question
from firsthand.ask.questions.pods import last
from firsthand.ask.reliance import Relies
from firsthand.schema import capability

NEEDS = ("process", "container", "pod")
#: Beyond an ordinary container's, side by side; the whole sets are in the rows that programs get, and in a wide table.
_SETS = ("declared", "granted", "permitted", "effective")
_COLUMNS = [
    "namespace",
    "pod",
    "names",
    *(f"{name}_beyond" for name in _SETS),
    "host",
    "host_mounts",
    "differs",
    "binaries",
    "since",
]
_WIDE = ["node", "claimed", "workload", "privileged", "image", *_SETS, "containers", "pod_uid"]
#: A container's life begins behind the runtime's own set-up in its cgroup (PROCESS_RUNTIME of kernel/subjects/process.h).
_LIFE = "event IN ('exec', 'seen', 'folded') AND container IS NOT NULL AND NOT coalesce((flags & ?) <> 0, false)"
_RUNTIME = 1 << 11
#: Mounts that the kubelet and the runtimes make for every container.
_USUAL = (
    "/var/lib/kubelet/pods/",
    "/var/lib/docker/containers/",
    "/run/containerd/io.containerd.grpc.v1.cri/",
    "/var/lib/containers/",
)
#: Namespaces by the kernel's word, and what declares the host's; a container in the host's mounts is never declared.
_NAMESPACES = {"pid": "host_pid", "net": "host_network", "ipc": "host_ipc", "mount": ""}


def privileged(asked: Asked) -> Found:
    """One row for each pod that holds more than the ordinary set (with --could also those that could)."""
    found = _units(asked)
    every = _every(asked)
    holding = [row for row in found if row["permitted"] & ~asked.ordinary]
    could = [row for row in found if not row["permitted"] & ~asked.ordinary and row["granted"] & ~asked.ordinary]
    rows = [_row(row, asked.ordinary, every) for row in (holding + could if asked.could else holding)]
    sentence = f"{len(holding):,} of {len(found):,} {_what(found)} hold capabilities beyond an ordinary container's"
    whole = sum(1 for row in rows if row["all"] and row["held"])
    if whole:
        sentence += f", {whole:,} of them every capability"
    claimed = sum(1 for row in rows if row["claimed"])
    if claimed:
        sentence += f", {claimed:,} of them known by a cgroup's path alone"
    if could and not asked.could:
        sentence += f"; {len(could):,} more could be granted such (--could shows them)"
    return Found(sentence, cut(rows, asked.limit), len(rows), _COLUMNS, wide=_WIDE)


def _units(asked: Asked) -> list[dict[str, Any]]:
    """Pods, and containers that are in none, with what the kernel saw in them and what was declared of them."""
    where, parameters = asked.running((_LIFE, [_RUNTIME]))
    declared = ("privileged", "cap_declared", "mounts", "kind")
    hosts = ", ".join(f"bool_or({name}) AS {name}" for name in _NAMESPACES.values() if name)
    query = f"""WITH told AS (SELECT node, container, {last(*declared)}, {hosts} FROM container
            WHERE event IN ('named', 'gone') AND time <= ? GROUP BY node, container),
        seen AS (SELECT node, container, any_value(pod_uid) AS pod_uid, any_value(pod) AS pod, any_value(namespace) AS namespace,
            any_value(workload) AS workload, any_value(container_name) AS name, any_value(image) AS image,
            bool_and(claimed) AS claimed,
            bit_or(cap_bounding) AS granted, bit_or(cap_permitted) AS permitted, bit_or(cap_effective) AS effective,
            list(DISTINCT exe) FILTER (exe IS NOT NULL AND (cap_permitted & ~CAST(? AS BIGINT)) <> 0) AS binaries,
            min(time) FILTER ((cap_permitted & ~CAST(? AS BIGINT)) <> 0) AS since,
            string_agg(DISTINCT host_namespaces, ' ') AS namespaces FROM process p WHERE {where} GROUP BY node, container)
        SELECT s.*, t.privileged, t.cap_declared, t.mounts, t.kind, t.host_pid, t.host_network, t.host_ipc
        FROM seen s LEFT JOIN told t ON s.node = t.node AND s.container = t.container ORDER BY s.since, s.container"""  # noqa: S608
    until = asked.window.until.replace(tzinfo=None)
    units: dict[tuple[str, str], dict[str, Any]] = {}
    for row in asked.rows(query, [until, asked.ordinary, asked.ordinary, *parameters]):
        _join(units.setdefault((row["node"], row["pod_uid"] or row["container"]), {}), row)
    return sorted(units.values(), key=lambda unit: (unit["since"] is None, unit["since"] or unit["containers"]))


def _join(unit: dict[str, Any], row: dict[str, Any]) -> None:
    """One container into its pod."""
    if not unit:
        unit.update({name: row[name] for name in ("node", "pod_uid", "pod", "namespace", "workload")}, claimed=None)
        unit.update(
            containers=[], names=[], granted=0, permitted=0, effective=0, declared=None, privileged=None, since=None
        )
        unit.update(binaries=set(), host=set(), host_mounts=set(), differs=set(), image=set())
    unit["containers"].append(row["container"])
    unit["claimed"] = unit["claimed"] or row["claimed"]
    if row["kind"] != "sandbox":
        unit["names"].append(row["name"] or row["container"][:12])
        unit["image"] |= {row["image"]} - {None}
        if row["privileged"] is not None:
            unit["privileged"] = bool(unit["privileged"]) or row["privileged"]
        if row["cap_declared"] is not None:
            unit["declared"] = (unit["declared"] or 0) | row["cap_declared"]
    if row["kind"] != "sandbox" or row["binaries"]:  # the pause process's sets say nothing of the pod's containers
        for name in ("granted", "permitted", "effective"):
            unit[name] |= row[name]
    unit["binaries"] |= set(row["binaries"] or ())
    unit["host"] |= {kind for kind, name in _NAMESPACES.items() if name and row[name]}
    unit["host_mounts"] |= {one for one in row["mounts"] or () if not one.startswith(_USUAL)}
    unit["differs"] |= set(_differences(row))
    unit["since"] = min((moment for moment in (unit["since"], row["since"]) if moment), default=None)


def _differences(row: dict[str, Any]) -> list[str]:
    """What the kernel showed of a container that was not declared: capabilities held, namespaces of the host.

    A sandbox has namespaces of its own beside its containers': what is of it alone is said to be.
    """
    found: list[str] = []
    whose = "sandbox " if row["kind"] == "sandbox" else ""
    if row["cap_declared"] is not None:
        found += [f"{whose}holds {name}" for name in capability.names(row["permitted"] & ~row["cap_declared"])]
    shared = set((row["namespaces"] or "").split())
    for kind, name in _NAMESPACES.items():
        if kind in shared and (not name or row[name] is False) and row["kind"] is not None:
            found.append(f"{whose}in the host's {kind} namespace")
    return found


def _what(found: list[dict[str, Any]]) -> str:
    pods = sum(1 for row in found if row["pod_uid"])
    if pods == len(found):
        return "pods"
    return "containers" if not pods else "pods and containers outside pods"


def _every(asked: Asked) -> int:
    """Every capability that this kernel knows: the union of all bounding sets in the record."""
    return asked.number("SELECT bit_or(cap_bounding) FROM process", [])


def _row(row: dict[str, Any], ordinary: int, every: int) -> dict[str, Any]:
    held = bool(row["permitted"] & ~ordinary)
    subject = row["permitted"] if held else row["granted"]
    sets = {name: capability.names(row[name]) for name in ("granted", "permitted", "effective")}
    lists = {name: sorted(row[name]) for name in ("binaries", "host", "host_mounts", "differs", "image")}
    alone = row["containers"][0] if len(row["containers"]) == 1 else None
    return {
        **{
            name: row[name]
            for name in ("namespace", "pod", "workload", "pod_uid", "node", "containers", "names", "since", "claimed")
        },
        "container": alone,
        "privileged": row["privileged"],
        "declared": None if row["declared"] is None else capability.names(row["declared"]),
        **sets,
        **lists,
        **{f"{name}_beyond": _beyond(row[name], ordinary, every) for name in _SETS},
        "all": bool(every) and subject & every == every,
        "beyond": capability.names(subject & ~ordinary),
        "held": held,
    }


def _beyond(bits: int | None, ordinary: int, every: int) -> str | None:
    """A set in a word: all, none, or what goes beyond the ordinary one; None where it is not known."""
    if bits is None:
        return None
    if every and bits & every == every:
        return "all"
    return " ".join(capability.names(bits & ~ordinary)) or "none"


_CAPABILITIES = tuple(
    Relies("process", f"cap_{name}", ("exec", "seen", "folded"), "container IS NOT NULL")
    for name in ("permitted", "effective", "bounding")
)

QUESTIONS = {
    "privileged": Question(
        "pods that hold more capabilities than an ordinary one's",
        "",
        privileged,
        NEEDS,
        names_matter=True,
        running=True,
        options=frozenset({"could"}),
        relies=_CAPABILITIES,
        rank=30,
    ),
}
