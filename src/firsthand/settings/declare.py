"""How a setting is declared, and which there are.

A section of the settings file is a `Section` (a frozen msgspec.Struct) under the decorator `section`; a setting is one of its fields:
its type, its default, and by `setting` its text, unit, bounds and the role that starts again when it changes. All else is derived:
what the file may hold (`check.py`), the default file, its pages and its JSON schema (`page.py`), and the values of the kernel side
(`firsthand.probe.options`).

A section stands in a module of `settings/sections`, or in that of the subject that it belongs to (`PLACES`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

#: Packages whose modules declare sections. One that does not exist declares none.
PLACES = ("firsthand.settings.sections", "firsthand.subjects")
#: The section whose settings stand at the top of the file, under no heading.
TOP = ""


class Section(msgspec.Struct, frozen=True):
    """The settings of one section, checked. Sections of equal settings are equal."""

    def check(self) -> None:
        """What concerns several settings at once. ValueError with the setting's name, what was expected and found."""


S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Notation:
    """How a value is written in the file, where that is not its type's own form.

    `expected`: for messages. `read`: the file's value to the setting's; ValueError, empty or with a reason, for anything else.
    `written`: the other way round. `schema`: of the file's value, as JSON schema.
    """

    expected: str
    read: Callable[[Any], Any]
    schema: dict[str, Any]
    written: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class Setting:
    """One setting as it is declared: `section` and `key` as in the file, `kind` of its value.

    `role`: who starts again when it changes, empty: nobody. `kernel`: whether the kernel side has it, in `struct SECTION_settings`.
    """

    section: str
    key: str
    type: Any
    default: Any
    doc: str
    unit: str
    role: str
    kernel: bool
    kind: Notation | None
    least: int | None
    most: int | None

    @property
    def name(self) -> str:
        """Dotted, as messages and `firsthand config show` have it."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def absent(self) -> bool:
        """Whether it may be without a value, as by default."""
        return get_origin(self.type) in (Union, UnionType) and type(None) in get_args(self.type)


@dataclass(frozen=True)
class _Declared:
    name: str
    role: str


_DECLARED: dict[type[Section], _Declared] = {}
_ROLE, _UNIT, _KIND, _KERNEL = "role", "unit", "kind", "kernel"


def section(name: str, role: str = "") -> Callable[[type[S]], type[S]]:
    """Declares a section. `role`: which process starts again when one of its settings changes, where a setting names no other."""

    def declared(kind: type[S]) -> type[S]:
        _DECLARED[kind] = _Declared(name, role)
        return kind

    return declared


def setting(
    doc: str,
    unit: str = "",
    *,
    least: int | None = None,
    most: int | None = None,
    kind: Notation | None = None,
    role: str | None = None,
    kernel: bool = False,
) -> msgspec.Meta:
    """Describes a setting, for `Annotated`. `doc` as the default file shows it; `least` and `most` in `unit`.

    `role`: see `section`. `kernel`: the kernel side has a member of this name in `struct SECTION_settings`: a number as it is, 1 for a
    list in which anything is.
    """
    return msgspec.Meta(
        description=doc, ge=least, le=most, extra={_UNIT: unit, _KIND: kind, _ROLE: role, _KERNEL: kernel}
    )


@cache
def sections() -> dict[str, type[Section]]:
    """All sections by their names: the one at the top, then by the alphabet. ValueError where two have one name."""
    for place in PLACES:
        for module in _modules(place):
            importlib.import_module(module)
    found: dict[str, type[Section]] = {}
    for kind, one in _DECLARED.items():
        if one.name in found:
            raise ValueError(
                f"{kind.__module__} declares the section {one.name!r}, as {found[one.name].__module__} does"
            )
        found[one.name] = kind
    return dict(sorted(found.items()))


def _modules(place: str) -> list[str]:
    try:
        package = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name != place:
            raise
        return []
    return [one.name for one in pkgutil.iter_modules(package.__path__, f"{place}.")]


def name_of(kind: type[Section]) -> str:
    """The section's name in the file."""
    return _DECLARED[kind].name


@cache
def fields(kind: type[Section]) -> dict[str, Setting]:
    """The settings of a section by key, in the order of their declaration."""
    hints = get_type_hints(kind, include_extras=True)
    declared = _DECLARED[kind]
    return {one.name: _setting(declared, one, hints[one.name]) for one in msgspec.structs.fields(kind)}


def _setting(declared: _Declared, field: msgspec.structs.FieldInfo, hint: Any) -> Setting:
    base, meta = get_args(hint)
    extra = meta.extra
    role = declared.role if extra[_ROLE] is None else extra[_ROLE]
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return Setting(
        declared.name,
        field.name,
        base,
        default,
        meta.description,
        extra[_UNIT],
        role,
        extra[_KERNEL],
        extra[_KIND],
        meta.ge,
        meta.le,
    )


def declared() -> list[Setting]:
    """All settings, by section."""
    return [one for kind in sections().values() for one in fields(kind).values()]


class Settings:
    """Checked settings, whole sections by their class: `settings[Network].cluster`. A section that is not given has its defaults."""

    def __init__(self, *given: Section) -> None:
        self._given = {type(one): one for one in given}

    def __getitem__(self, kind: type[S]) -> S:
        found = self._given.get(kind)
        if found is None:
            found = self._given[kind] = kind()
        return found  # type: ignore[return-value]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and all(self[kind] == other[kind] for kind in {*self._given, *other._given})

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Settings({', '.join(map(repr, self._given.values()))})"

    def having(self, kind: type[S], **changes: Any) -> Settings:
        """The same with other values of one section."""
        changed: Section = msgspec.structs.replace(self[kind], **changes)
        return Settings(*self._given.values(), changed)

    def of(self, role: str) -> Settings:
        """What a role is given: its own settings; those of others have their defaults, so that their changes do not concern it."""
        return Settings(*(_only(self[kind], role) for kind in sections().values()))

    def builtins(self) -> dict[str, Any]:
        """By section, for JSON: what `parse` takes."""
        return {name_of(kind): msgspec.to_builtins(one) for kind, one in self._given.items()}

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Settings:
        """From `builtins` of another process. msgspec.ValidationError where a value is none."""
        known = sections()
        return cls(*(msgspec.convert(values, known[name]) for name, values in raw.items()))


def _only(found: S, role: str) -> S:
    others = {key: one.default for key, one in fields(type(found)).items() if one.role != role}
    return msgspec.structs.replace(found, **others)
