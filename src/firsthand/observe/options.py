"""What the observer, its loader and the follower are told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firsthand.probe import hierarchy as _hierarchy
from firsthand.probe.options import LoadOptions
from firsthand.schema import layout as _layout
from firsthand.wire.programs import Program


@dataclass(frozen=True)
class ObserverOptions:
    """All that the observer is told.

    Times in milliseconds, `patience` in seconds; ring sizes powers of two; `redaction` mask, hash or drop; `programs` the
    user's, compiled; `canary` the cgroup's path below which the supervisor's canaries live, empty for none; `canary_every`
    and `flow_idle` in seconds; `fold` and its limits as in LoadOptions; `resolvers` addresses and networks; `keep_query`: of
    the paths of HTTP requests.
    """

    history: str
    scopes: tuple[str, ...] = ()
    instance: str = "default"
    hierarchy: str = "auto"
    ring_bytes: int = 8 << 20
    urgent_bytes: int = 1 << 20
    patience: float = 600.0
    poll: int = 40
    commit: int = 80
    redaction: str = "mask"
    redaction_key: str = ""
    redaction_scopes: tuple[tuple[str, str], ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    programs: tuple[Program, ...] = ()
    environment: tuple[str, ...] = ()
    canary: str = ""
    canary_every: float = 60.0
    flow_idle: int = 30
    translated: tuple[str, ...] | None = None
    names: bool = True
    requests: bool = True
    plain: tuple[str, ...] = ()
    resolvers: tuple[str, ...] = ()
    keep_query: bool = False
    fold: bool = False
    fold_connections: bool = False
    fold_most_ms: int = 1000
    fold_every_seconds: int = 60

    def left_out(self, refused: str) -> dict[str, object]:
        """Settings that leave something out of the record, for the observer table. `refused`: why nothing folds."""
        names = [name for name, _ in self.patterns]
        found: dict[str, object] = {
            "redaction": self.redaction,
            "redaction_scopes": dict(self.redaction_scopes),
            "patterns": names,
            "programs": sorted(name for program in self.programs for name in program.names),
            "names": self.names,
            "requests": self.requests,
            "translations": self.translated is not None,
            "plaintext": self.plain,
            "keep_query": self.keep_query,
            "resolvers": self.resolvers,
        }
        if not self.fold and not self.fold_connections:
            return found
        limits = {
            "processes": self.fold,
            "connections": self.fold_connections,
            "most_ms": self.fold_most_ms,
            "every_seconds": self.fold_every_seconds,
        }
        return found | {"folding": {"refused": refused} if refused else limits}

    @property
    def packets(self) -> bool:
        """Whether there is anything for a dissector to read."""
        return self.names or self.requests or bool(self.plain)

    @property
    def read_args(self) -> bool:
        """Whether any row keeps something of its arguments; else the kernel side does not read them."""
        return any(mode != "drop" for mode in (self.redaction, *dict(self.redaction_scopes).values()))

    @property
    def observed(self) -> list[Path]:
        """Folders of the cgroups that are observed, the canaries' with them; empty: all."""
        return [Path(scope) for scope in (*self.scopes, *filter(None, [self.canary]))] if self.scopes else []

    def load_options(self) -> LoadOptions:
        """What the loader is told."""
        scopes = [Path(scope) for scope in self.scopes]
        return LoadOptions(
            _layout.installed(),
            _hierarchy.choose(scopes, self.hierarchy),
            [_hierarchy.key(scope) for scope in self.observed],
            self.instance,
            self.ring_bytes,
            self.urgent_bytes,
            self.patience,
            read_args=self.read_args,
            flow_idle=self.flow_idle,
            translated=self.translated,
            read_names=self.names,
            read_requests=self.requests,
            plain=self.plain,
            fold=self.fold,
            fold_connections=self.fold_connections,
            fold_most_ms=self.fold_most_ms,
            fold_every_seconds=self.fold_every_seconds,
            canary=_hierarchy.key(Path(self.canary)) if self.canary and scopes else 0,
        )


@dataclass(frozen=True)
class FollowerOptions:
    """What the follower is told. `sockets` may name runtimes that are not there (yet); `scoped`: only cgroups of the log."""

    history: str
    sockets: tuple[str, ...]
    annotations: tuple[str, ...] = ()
    scoped: bool = False


def tuples(raw: dict[str, Any]) -> dict[str, Any]:
    """Options from JSON, whose lists were tuples."""
    found = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    for name in ("patterns", "redaction_scopes"):
        found[name] = tuple(tuple(pair) for pair in raw.get(name, ()))
    found["programs"] = tuple(_program(one) for one in raw.get("programs", ()))
    return found


def _program(raw: dict[str, Any]) -> Program:
    return Program(tuple(raw["names"]), tuple((text, one) for text, one in raw["expressions"]), tuple(raw["keys"]))
