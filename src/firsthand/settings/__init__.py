"""The settings file: found, read and checked. Each section is declared in a module of `sections/` (declare.py says how)."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firsthand.errors import UsageError
from firsthand.settings import declare
from firsthand.settings.check import checked
from firsthand.settings.declare import Settings

__all__ = ["DEFAULTS", "Settings", "flat", "in_force", "load", "read", "take", "usable", "where"]

#: The default file, written from the declarations by `make docs`.
DEFAULTS = Path(__file__).with_name("settings.toml")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of the file in force over the defaults. UsageError names file, key, what was expected and found."""
    given = _taken[-1] if _taken else in_force(os.environ if environ is None else environ)
    if given is None:
        return Settings()
    path, text = given
    return checked(_parsed(text, path), path)


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
        return Settings()


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


def flat(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A file's settings by their dotted names; tables that a user fills stay whole."""
    known = declare.sections()  # not `sections`: the subpackage has that name here
    found: dict[str, Any] = {}
    for key, value in raw.items():
        found |= {f"{key}.{inner}": one for inner, one in value.items()} if key in known else {key: value}
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
