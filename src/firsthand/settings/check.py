"""What stands in a settings file, checked against the declarations: whole settings, or a UsageError that says where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from firsthand.errors import UsageError
from firsthand.settings.declare import TOP, Section, Setting, Settings, fields, sections


def checked(raw: Mapping[str, Any], path: Path) -> Settings:
    """Settings of a file that was read, over the defaults. UsageError names file, key, what was expected and found."""
    known = sections()
    _known({*fields(known[TOP]), *known} - {TOP}, raw, path, "")
    return Settings(*(_section(kind, _of(name, raw, path), name, path) for name, kind in known.items()))


def _of(name: str, raw: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if name == TOP:
        return {key: value for key, value in raw.items() if key not in sections()}
    found = raw.get(name, {})
    if not isinstance(found, dict):
        raise UsageError(f"{path}: {name}: expected a section [{name}], found {found!r}")
    return found


def _known(known: set[str], raw: Mapping[str, Any], path: Path, prefix: str) -> None:
    for key in raw:
        if key not in known:
            raise UsageError(f"{path}: unknown setting {prefix}{key}; known are {', '.join(sorted(known))}")


def _section(kind: type[Section], raw: Mapping[str, Any], name: str, path: Path) -> Section:
    declared = fields(kind)
    _known({*declared}, raw, path, f"{name}." if name else "")
    found = kind(**{key: value_of(declared[key], value, path) for key, value in raw.items()})
    try:
        found.check()
    except ValueError as error:
        raise UsageError(f"{path}: {name + '.' if name else ''}{error}") from error
    return found


def value_of(setting: Setting, value: Any, path: Path) -> Any:
    """A setting's value from that of the file. UsageError where it is none."""
    bounded: Any = Annotated[setting.type, msgspec.Meta(ge=setting.least, le=setting.most)]
    try:
        read = setting.kind.read(value) if setting.kind else value
        return msgspec.convert(read, bounded)
    except (ValueError, msgspec.ValidationError) as error:
        why = _reason(setting, error)
        raise UsageError(f"{path}: {setting.name}: expected {expected(setting)}, found {value!r}{why}") from error


def _reason(setting: Setting, error: Exception) -> str:
    """What the check of a kind says; msgspec's own words where the fault lies within a table or list."""
    inner = isinstance(error, msgspec.ValidationError) and get_origin(setting.type) is not None
    said = str(error) if (setting.kind and not isinstance(error, msgspec.ValidationError)) or inner else ""
    return f" ({said})" if said else ""


def expected(setting: Setting) -> str:
    """What a setting takes, for messages and pages."""
    if setting.kind:
        return setting.kind.expected
    kind = setting.type
    if setting.absent:
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    plain: dict[Any, str] = {
        bool: "true or false",
        str: "text",
        tuple: "a list of texts",
        dict: "a table of NAME = text",
    }
    return plain.get(get_origin(kind) or kind) or _number(setting)


def _number(setting: Setting) -> str:
    what = f"whole {setting.unit}" if setting.unit else "a whole number"
    if setting.most is not None:
        return f"{what} from {setting.least} to {setting.most}"
    return what if setting.least is None else f"{what} of at least {setting.least}"
