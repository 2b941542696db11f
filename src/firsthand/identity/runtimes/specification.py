"""Declared privilege, as far as an OCI runtime specification tells it (opencontainers/runtime-spec config.md, config-linux.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firsthand.identity.runtimes.facts import ContainerFacts, text
from firsthand.schema import capability

#: Ranges of a user namespace that the kernel takes (UID_GID_MAP_MAX_EXTENTS of include/linux/user_namespace.h).
MOST_RANGES = 340
_HOST_FLAGS = {"pid": "host_pid", "network": "host_network", "ipc": "host_ipc"}


def take(facts: ContainerFacts, spec: Mapping[str, Any]) -> None:
    """Capabilities, user, no-new-privileges and seccomp of the process that the specification declares."""
    process = _folder(spec, "process")
    sets = process.get("capabilities")
    facts.cap_declared = capabilities(sets.get("bounding")) if isinstance(sets, dict) else 0 if process else None
    facts.uid = _number(_folder(process, "user").get("uid", 0)) if process else None
    if process:
        facts.no_new_privileges = bool(process.get("noNewPrivileges"))
    linux = _folder(spec, "linux")
    if linux:
        facts.cgroup_path = facts.cgroup_path or cgroup_path(text(linux.get("cgroupsPath")))
        profile = _folder(linux, "seccomp")
        facts.seccomp = str(profile.get("defaultAction", "SCMP_ACT_ALLOW"))[:64] if profile else "unconfined"
        _namespaces(facts, linux)
        _root(facts, spec, linux)


def _namespaces(facts: ContainerFacts, linux: Mapping[str, Any]) -> None:
    """A namespace that the specification does not list is the runtime's own, which is the host's."""
    listed = linux.get("namespaces")
    kinds = {entry.get("type") for entry in listed if isinstance(entry, dict)} if isinstance(listed, list) else set()
    for kind, name in _HOST_FLAGS.items():
        if getattr(facts, name) is None:
            setattr(facts, name, kind not in kinds)


def _root(facts: ContainerFacts, spec: Mapping[str, Any], linux: Mapping[str, Any]) -> None:
    """The root folder, and how its users are numbered on the machine; none where a user namespace is joined whose ranges are not told."""
    listed, mapped = linux.get("namespaces"), linux.get("uidMappings")
    kinds = {one.get("type") for one in listed if isinstance(one, dict)} if isinstance(listed, list) else set()
    facts.ranges = (
        tuple(_range(one) for one in mapped[:MOST_RANGES] if isinstance(one, dict)) if isinstance(mapped, list) else ()
    )
    if "user" not in kinds or facts.ranges:
        facts.root = text(_folder(spec, "root").get("path"))


def _range(raw: Mapping[str, Any]) -> tuple[int, int, int]:
    inside, first, size = (_number(raw.get(name, 0)) or 0 for name in ("containerID", "hostID", "size"))
    return inside, first, size


def cgroup_path(told: str | None) -> str | None:
    """A cgroup as `cgroupsPath` tells it, as a path below the hierarchy's root: absolute, or SLICE:PREFIX:NAME of the systemd driver.

    None for a relative one, which lies below the runtime's own. Sources: runc libcontainer/cgroups/systemd/common.go (ExpandSlice,
    getUnitName), fs2/defaultpath.go.
    """
    if told is None or told.count(":") != 2:
        return told.rstrip("/") or None if told and told.startswith("/") else None
    parent, prefix, name = told.split(":")
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    return f"{_slices(parent or 'system.slice')}/{unit}"


def _slices(name: str) -> str:
    """`a-b.slice` lies below `a.slice`; `-.slice` is the root."""
    words = [word for word in name.removesuffix(".slice").split("-") if word]
    return "".join(f"/{'-'.join(words[: end + 1])}.slice" for end in range(len(words)))


def capabilities(names: object) -> int:
    """A list of names as a set of bits. Names that are none, which a newer kernel may have, are left out."""
    total = 0
    for name in names if isinstance(names, list) else ():
        word = str(name).lower().removeprefix("cap_")
        if word in capability.NAMES:
            total |= 1 << capability.NAMES.index(word)
    return total


def _folder(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _number(raw: object) -> int | None:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None
