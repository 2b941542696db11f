"""Declared privilege, as far as an OCI runtime specification tells it (opencontainers/runtime-spec config.md, config-linux.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firsthand.identity.runtimes.facts import ContainerFacts
from firsthand.schema import capability

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
        profile = _folder(linux, "seccomp")
        facts.seccomp = str(profile.get("defaultAction", "SCMP_ACT_ALLOW"))[:64] if profile else "unconfined"
        _namespaces(facts, linux)


def _namespaces(facts: ContainerFacts, linux: Mapping[str, Any]) -> None:
    """A namespace that the specification does not list is the runtime's own, which is the host's."""
    listed = linux.get("namespaces")
    kinds = {entry.get("type") for entry in listed if isinstance(entry, dict)} if isinstance(listed, list) else set()
    for kind, name in _HOST_FLAGS.items():
        if getattr(facts, name) is None:
            setattr(facts, name, kind not in kinds)


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
