"""What the observer, its loader and the follower are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from firsthand.probe import hierarchy as _hierarchy
from firsthand.probe.options import LoadOptions
from firsthand.schema import layout as _layout
from firsthand.settings import Settings, watchlist
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.network import Network
from firsthand.settings.sections.redaction import Redaction
from firsthand.settings.sections.top import Top
from firsthand.subjects.file import WatchedFiles
from firsthand.subjects.registry import SUBJECTS
from firsthand.wire.programs import Program


class ObserverOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All that the observer is given: the history's folder, the observed cgroups' folders, its settings.

    `checks`: whether the checker runs. `programs` the user's, compiled;
    `canary` the cgroup's path below which the supervisor's canaries live, empty for none.
    """

    history: str
    scopes: tuple[str, ...] = ()
    settings: Settings = msgspec.field(default_factory=Settings)
    programs: tuple[Program, ...] = ()
    canary: str = ""
    checks: bool = False

    @property
    def top(self) -> Top:
        """The settings under no heading."""
        return self.settings[Top]

    @property
    def network(self) -> Network:
        """The section of that name."""
        return self.settings[Network]

    @property
    def redaction(self) -> Redaction:
        """The section of that name, without its programs."""
        return self.settings[Redaction]

    def left_out(self, refused: str) -> dict[str, object]:
        """Settings that leave something out of the record, for the observer table. `refused`: why nothing folds."""
        network, redaction, folding = self.network, self.redaction, self.settings[Folding]
        found: dict[str, object] = {
            "redaction": redaction.mode,
            "redaction_scopes": dict(redaction.scopes),
            "patterns": sorted(redaction.patterns),
            "programs": sorted(name for program in self.programs for name in program.names),
            "names": network.names,
            "requests": network.requests,
            "translations": network.translations,
            "plaintext": network.plaintext,
            "keep_query": network.keep_query,
            "resolvers": network.resolvers,
            "content": self.checks,
        }
        for one in SUBJECTS:
            if one.section is not None:
                found[one.name] = msgspec.to_builtins(self.settings[one.section])
        files = self.settings[WatchedFiles]
        found["file_links"] = watchlist.led((*files.read, *files.write)) if files.enabled else {}
        if not folding.wanted:
            return found
        return found | {"folding": {"refused": refused} if refused else msgspec.to_builtins(folding)}

    @property
    def observed(self) -> list[Path]:
        """Folders of the cgroups that are observed, the canaries' with them; empty: all."""
        return [Path(scope) for scope in (*self.scopes, *filter(None, [self.canary]))] if self.scopes else []

    def load_options(self) -> LoadOptions:
        """What the loader is given."""
        scopes = [Path(scope) for scope in self.scopes]
        return LoadOptions(
            _layout.installed(),
            _hierarchy.choose(scopes, self.top.hierarchy),
            [_hierarchy.key(scope) for scope in self.observed],
            self.settings,
            canary=_hierarchy.key(Path(self.canary)) if self.canary and scopes else 0,
        )


class FollowerOptions(msgspec.Struct, frozen=True):
    """What the follower is given. `sockets` may name runtimes that are not there (yet); `scoped`: only cgroups of the log."""

    history: str
    sockets: tuple[str, ...]
    annotations: tuple[str, ...] = ()
    scoped: bool = False


T = TypeVar("T", ObserverOptions, FollowerOptions)


def encode(options: ObserverOptions | FollowerOptions) -> str:
    """As JSON, for the process's argument."""
    return msgspec.json.encode(options, enc_hook=_builtins).decode()


def decode(kind: type[T], text: str) -> T:
    """Options that `encode` gave. msgspec.ValidationError for anything else."""
    return msgspec.json.decode(text, type=kind, dec_hook=_made)


def _builtins(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.builtins()
    raise NotImplementedError(type(value))


def _made(kind: type, value: Any) -> Any:
    if kind is Settings:
        return Settings.parse(value)
    raise NotImplementedError(kind)
