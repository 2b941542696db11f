"""The settings file: found, read and checked. Every setting is described in settings.toml, which is also its default."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from firsthand.errors import UsageError

DEFAULTS = Path(__file__).with_name("settings.toml")
_KINDS = ("containerd", "cri", "docker", "podman")
_MODES = ("mask", "hash", "drop")
_FOLDING_MOST = {"most_ms": 10_000, "every_seconds": 3600}
#: Settings that are whole numbers, with the least that each may be.
_NUMBERS = {
    "ring_bytes": 0,
    "urgent_bytes": 1,
    "patience_seconds": 1,
    "restart_most_seconds": 1,
    "canary_seconds": 0,
    "poll_ms": 1,
    "commit_ms": 1,
    "fold": 1,
}
#: The ordinary ring's least and greatest size where the setting leaves it to the machine.
RING_BYTES = (8 << 20, 64 << 20)
_FREE = ("patterns", "programs", "scopes", "namespaces")
_EVER = 1_000_000
_UNITS = {
    "": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


@dataclass(frozen=True)
class Limit:
    """What one namespace may hold, where that is fixed; None: as all others."""

    days: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Limits:
    """What the history may hold: whole days, bytes of segments, free bytes of its file system."""

    days: int
    bytes: int
    free: int
    protected_days: int
    namespaces: tuple[tuple[str, Limit], ...] = ()

    @property
    def text(self) -> str:
        """As JSON, for a process that reads no settings of its own."""
        return json.dumps(asdict(self))

    @property
    def ageless(self) -> Limits:
        """The same in bytes, and no row is ever too old."""
        named = tuple((name, replace(limit, days=_EVER) if limit.days else limit) for name, limit in self.namespaces)
        return replace(self, days=_EVER, protected_days=_EVER, namespaces=named)

    @classmethod
    def parse(cls, text: str) -> Limits:
        """What `text` gave."""
        raw = json.loads(text)
        raw["namespaces"] = tuple((name, Limit(**limit)) for name, limit in raw["namespaces"])
        return cls(**raw)


@dataclass(frozen=True)
class Network:
    """What is recorded of connections (seconds), and what is the cluster's own (CIDRs) or expected (names, addresses, CIDRs)."""

    names: bool
    requests: bool
    plaintext: tuple[str, ...]
    flow_idle_seconds: int
    translations: bool
    translated_namespaces: tuple[str, ...]
    resolvers: tuple[str, ...]
    keep_query: bool
    cluster: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folding:
    """Whether equal short processes and connections fold: those that live for `most_ms` at most, into a row each `every_seconds`."""

    processes: bool
    connections: bool
    most_ms: int
    every_seconds: int


@dataclass(frozen=True)
class Reader:
    """Whether `firsthand run` has the reader ready, and the seconds without a question after which it ends."""

    enabled: bool
    idle_seconds: int


@dataclass(frozen=True)
class Settings:
    """Checked settings; times in milliseconds, `ring_bytes` a power of two."""

    history: str | None
    instance: str
    hierarchy: str
    ring_bytes: int
    urgent_bytes: int
    patience_seconds: int
    restart_most_seconds: int
    canary_seconds: int
    poll_ms: int
    commit_ms: int
    fold: int
    ordinary_capabilities: tuple[str, ...]
    folding: Folding
    redaction_mode: str
    redaction_key: str
    redaction_scopes: tuple[tuple[str, str], ...]
    redaction_patterns: tuple[tuple[str, str], ...]
    redaction_programs: tuple[tuple[str, tuple[str, ...]], ...]
    environment_allow: tuple[str, ...]
    runtime_sockets: tuple[str, ...]
    runtime_annotations: tuple[str, ...]
    retention: Limits
    heads: str
    scrub_days: int
    network: Network
    reader: Reader


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of the file in force over the defaults. UsageError names file, key, what was expected and found."""
    given = _taken[-1] if _taken else in_force(os.environ if environ is None else environ)
    if given is None:
        return _checked(read(DEFAULTS), DEFAULTS)
    path, text = given
    return _checked(_merge(read(DEFAULTS), _parsed(text, path), path), path)


#: What `take` was given last.
_taken: list[tuple[Path, str] | None] = []


def in_force(environ: Mapping[str, str]) -> tuple[Path, str] | None:
    """The settings file in force and its text, or None where there is none. UsageError where it cannot be read."""
    path = where(environ)
    return None if path is None else (path, _text(path))


def take(given: tuple[Path, str] | None) -> None:
    """Have the settings of another process, as `in_force` found them there: this one answers for it."""
    _taken.append(given)


def usable() -> Settings:
    """As `load`; the defaults where the file in force is wrong. For readers that must go on: who answers a user calls `load`."""
    try:
        return load()
    except UsageError:
        return _checked(read(DEFAULTS), DEFAULTS)


def where(environ: Mapping[str, str]) -> Path | None:
    """The settings file in force, or None where there is none. UsageError where $FIRSTHAND_CONFIG names no file."""
    named = environ.get("FIRSTHAND_CONFIG")
    if named:
        if not Path(named).is_file():
            raise UsageError(f"FIRSTHAND_CONFIG={named}: no such file; unset it or name one")
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '/root')}/.config"
    places = [Path("/etc/firsthand/config.toml"), Path(home) / "firsthand/config.toml"]
    return next((place for place in places if _is_file(place)), None)


def _is_file(place: Path) -> bool:
    """Whether a settings file is there for this user: one in a folder that is closed to them (root's home) is not."""
    try:
        return place.is_file()
    except PermissionError:
        return False


def flat(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names; tables that a user fills stay whole."""
    found: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{prefix}{key}"
        inner = isinstance(value, dict) and key not in _FREE
        found |= flat(value, f"{name}.") if inner else {name: value}
    return found


def read(path: Path) -> dict[str, Any]:
    """A settings file as it stands. UsageError where it is no TOML or cannot be read."""
    return _parsed(_text(path), path)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError) as error:
        raise _wrong(path, error) from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise _wrong(path, error) from error


def _wrong(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: {error}; correct it, or name another file by FIRSTHAND_CONFIG")


def _merge(defaults: dict[str, Any], given: dict[str, Any], path: Path, prefix: str = "") -> dict[str, Any]:
    known = {*defaults, "history"} if not prefix else set(defaults)
    merged = dict(defaults)
    for key, value in given.items():
        if key not in known:
            raise UsageError(f"{path}: unknown setting {prefix}{key}; known are {', '.join(sorted(known))}")
        if isinstance(defaults.get(key), dict) and isinstance(value, dict) and key not in _FREE:
            merged[key] = _merge(defaults[key], value, path, f"{key}.")
        else:
            merged[key] = value
    return merged


def socket(text: object, where: Path | str) -> str:
    """A runtime's socket as it may be named. UsageError where it names no path."""
    kind, slash, rest = str(text).partition("/")
    if not slash or kind not in ("", *(f"{known}:" for known in _KINDS)):
        expected = f'"/path" or "KIND:/path" with KIND one of {", ".join(_KINDS)}'
        raise UsageError(f"{where}: a runtime's socket: expected {expected}, found {text!r}")
    return f"{kind}/{rest}"


def _checked(raw: dict[str, Any], path: Path) -> Settings:
    def want(key: str, kind: type, value: Any) -> Any:
        if type(value) is not kind:
            raise UsageError(f"{path}: {key} must be {kind.__name__}, found {type(value).__name__} {value!r}")
        return value

    numbers = {key: want(key, int, raw[key]) for key in _NUMBERS}
    _sizes(numbers, path)
    numbers["ring_bytes"] = numbers["ring_bytes"] or ring_bytes(os.cpu_count() or 1, _memory())
    redaction = raw["redaction"]
    scopes = want("redaction.scopes", dict, redaction["scopes"])
    _modes(redaction["mode"], scopes, path)
    return Settings(
        **numbers,
        history=want("history", str, raw["history"]) if "history" in raw else None,
        instance=want("instance", str, raw["instance"]),
        hierarchy=want("hierarchy", str, raw["hierarchy"]),
        ordinary_capabilities=tuple(want("ordinary_capabilities", list, raw["ordinary_capabilities"])),
        folding=_folding(raw["folding"], path),
        redaction_mode=redaction["mode"],
        redaction_key=want("redaction.key", str, redaction["key"]),
        redaction_scopes=tuple(sorted(scopes.items())),
        redaction_patterns=tuple(sorted(want("redaction.patterns", dict, redaction["patterns"]).items())),
        redaction_programs=_programs(want("redaction.programs", dict, redaction["programs"]), path),
        environment_allow=tuple(want("environment.allow", list, raw["environment"]["allow"])),
        runtime_sockets=tuple(
            socket(text, path) for text in want("runtimes.sockets", list, raw["runtimes"]["sockets"])
        ),
        runtime_annotations=tuple(want("runtimes.annotations", list, raw["runtimes"]["annotations"])),
        retention=_retention(raw["retention"], path),
        heads=_heads(raw["integrity"]["heads"], path),
        scrub_days=_days(raw["integrity"]["scrub_days"], f"{path}: integrity.scrub_days"),
        network=_network(raw["network"], path),
        reader=_reader(raw["reader"], path),
    )


def ring_bytes(processors: int, memory: int) -> int:
    """The ordinary ring's size for a machine: a power of two from 8 to 64 MiB, 4 MiB a processor, of `memory` bytes a 512th at most.

    A processor that does nothing but start processes makes 5 MB of records a second.
    """
    least, most = RING_BYTES
    wanted = min(processors * (4 << 20), memory // 512, most)
    return max(least, 1 << wanted.bit_length() - 1 if wanted else 0)


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _sizes(numbers: Mapping[str, int], path: Path) -> None:
    for key, least in _NUMBERS.items():
        if numbers[key] < least:
            raise UsageError(f"{path}: {key} must be at least {least}, found {numbers[key]}")
    for key in ("ring_bytes", "urgent_bytes"):
        if key == "ring_bytes" and not numbers[key]:
            continue  # by the machine
        if numbers[key] < 4096 or numbers[key] & (numbers[key] - 1):
            raise UsageError(f"{path}: {key} must be a power of two of at least 4096, found {numbers[key]}")


def _modes(mode: object, scopes: Mapping[str, Any], path: Path) -> None:
    for scope, one in scopes.items():
        if one not in _MODES or not scope.startswith("/"):
            expected = f'"/cgroup/path" = one of {", ".join(_MODES)}'
            raise UsageError(f"{path}: redaction.scopes: expected {expected}, found {scope!r} = {one!r}")
    if mode not in _MODES:
        raise UsageError(f"{path}: redaction.mode must be one of {', '.join(_MODES)}, found {mode!r}")


def _programs(raw: Mapping[str, Any], path: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    for names, forms in raw.items():
        if not isinstance(forms, list) or not all(isinstance(form, str) for form in forms):
            expected = '"program" = ["a form with SECRET in it"]'
            raise UsageError(f"{path}: redaction.programs: expected {expected}, found {names!r} = {forms!r}")
    return tuple(sorted((names, tuple(forms)) for names, forms in raw.items()))


def _reader(raw: Mapping[str, Any], path: Path) -> Reader:
    if type(raw["enabled"]) is not bool:
        raise UsageError(f"{path}: reader.enabled must be true or false, found {raw['enabled']!r}")
    if type(raw["idle_seconds"]) is not int or raw["idle_seconds"] < 1:
        raise UsageError(
            f"{path}: reader.idle_seconds: expected whole seconds of at least 1, found {raw['idle_seconds']!r}"
        )
    return Reader(raw["enabled"], raw["idle_seconds"])


def _resolvers(words: object, path: Path) -> tuple[str, ...]:
    if not isinstance(words, list):
        raise UsageError(f"{path}: network.resolvers: expected a list of addresses or networks, found {words!r}")
    try:
        return tuple(str(ipaddress.ip_network(str(word), strict=False)) for word in words)
    except ValueError as error:
        raise UsageError(f"{path}: network.resolvers: expected addresses or networks: {error}") from error


def _folding(raw: Mapping[str, Any], path: Path) -> Folding:
    for key in ("processes", "connections"):
        if type(raw[key]) is not bool:
            raise UsageError(f"{path}: folding.{key} must be true or false, found {raw[key]!r}")
    for key, most in _FOLDING_MOST.items():
        if type(raw[key]) is not int or not 1 <= raw[key] <= most:
            raise UsageError(f"{path}: folding.{key}: expected a whole number from 1 to {most}, found {raw[key]!r}")
    return Folding(raw["processes"], raw["connections"], raw["most_ms"], raw["every_seconds"])


def size(value: object, where: str) -> int:
    """Bytes: a whole number, or one with a unit such as "20GB" or "1.5 GiB". UsageError for anything else."""
    if type(value) is int and value >= 0:
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", value.strip()) if isinstance(value, str) else None
    if not found or found[2] not in _UNITS:
        raise UsageError(f"{where}: expected bytes such as 20000000000, '20GB' or '1.5GiB', found {value!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def _days(value: object, where: str) -> int:
    if type(value) is not int or value < 1:
        raise UsageError(f"{where}: expected whole days of at least 1, found {value!r}")
    return value


def _heads(value: object, path: Path) -> str:
    if not isinstance(value, str) or (value and not value.startswith("/")):
        raise UsageError(f'{path}: integrity.heads: expected an absolute path or "", found {value!r}')
    return value


def _network(raw: dict[str, Any], path: Path) -> Network:
    idle = raw["flow_idle_seconds"]
    if type(idle) is not int or not 1 <= idle <= 3600:
        raise UsageError(f"{path}: network.flow_idle_seconds: expected whole seconds from 1 to 3600, found {idle!r}")
    for key in ("names", "requests", "translations", "keep_query"):
        if type(raw[key]) is not bool:
            raise UsageError(f"{path}: network.{key}: expected true or false, found {raw[key]!r}")
    for key in ("cluster", "expected"):
        if not isinstance(raw[key], list):
            raise UsageError(f"{path}: network.{key}: expected a list, found {raw[key]!r}")
    namespaces = _paths(raw, "translated_namespaces", "/run/netns/NAME", path)
    libraries = _paths(raw, "plaintext", "/usr/lib/x86_64-linux-gnu/libssl.so.3", path)
    found = (raw["names"], raw["requests"], libraries, idle, raw["translations"], namespaces)
    ranges = (tuple(_range(one, path) for one in raw["cluster"]), tuple(map(str, raw["expected"])))
    return Network(*found, _resolvers(raw["resolvers"], path), raw["keep_query"], *ranges)


def _paths(raw: dict[str, Any], key: str, example: str, path: Path) -> tuple[str, ...]:
    found = raw[key]
    if not isinstance(found, list) or not all(isinstance(name, str) and name.startswith("/") for name in found):
        raise UsageError(
            f'{path}: network.{key}: expected a list of absolute paths such as "{example}", found {found!r}'
        )
    return tuple(found)


def _range(text: object, path: Path) -> str:
    try:
        return str(ipaddress.ip_network(str(text)))
    except ValueError as error:
        expected = "expected a range such as 10.0.0.0/8 or fd00::/8"
        raise UsageError(f"{path}: network.cluster: {expected}, found {text!r} ({error})") from error


def _retention(raw: dict[str, Any], path: Path) -> Limits:
    """The section, checked: what namespaces are given together must be there to be given."""
    at = f"{path}: retention"
    named = raw["namespaces"]
    if not isinstance(named, dict):
        raise UsageError(f"{at}.namespaces: expected NAMESPACE = {{days = .., bytes = ..}}, found {named!r}")
    fixed = tuple(sorted((name, _limit(one, f"{at}.namespaces.{name}")) for name, one in named.items()))
    total = size(raw["bytes"], f"{at}.bytes")
    if (given := sum(limit.bytes or 0 for _, limit in fixed)) > total:
        raise UsageError(f"{at}.namespaces: {given:,} bytes are given in all, and bytes is {total:,}; raise bytes")
    free = size(raw["free"], f"{at}.free")
    days, protected = (_days(raw[key], f"{at}.{key}") for key in ("days", "protected_days"))
    return Limits(days, total, free, protected, fixed)


def _limit(raw: object, where: str) -> Limit:
    if not isinstance(raw, dict) or raw.keys() - {"days", "bytes"}:
        raise UsageError(f"{where}: expected {{days = .., bytes = ..}}, found {raw!r}")
    days = _days(raw["days"], f"{where}.days") if "days" in raw else None
    return Limit(days, size(raw["bytes"], f"{where}.bytes") if "bytes" in raw else None)
