"""How secrets are kept out of the record."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec

from firsthand.settings.declare import Notation, Section, section, setting

Mode = Literal["mask", "hash", "drop"]


def _scopes(value: object) -> Any:
    found = msgspec.convert(value, dict[str, Mode])
    if not all(scope.startswith("/") for scope in found):
        raise ValueError
    return found


_SCOPES = Notation(
    f'"/cgroup/path" = one of {", ".join(get_args(Mode))}',
    _scopes,
    {"type": "object", "propertyNames": {"pattern": "^/"}, "additionalProperties": {"enum": [*get_args(Mode)]}},
)
_PROGRAMS = Notation(
    '"program" = ["a form with SECRET in it"]',
    lambda value: msgspec.convert(value, dict[str, tuple[str, ...]]),
    {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
)


@section("redaction", role="observer")
class Redaction(Section, frozen=True):
    """`programs` do not go to the observer as they are: `firsthand run` compiles them first (wire/programs.py)."""

    mode: Annotated[
        Mode,
        setting(
            "mask: secrets in arguments are replaced. hash: each argument but the first is kept as a keyed hash. drop: none is kept."
        ),
    ] = "mask"
    scopes: Annotated[
        dict[str, Mode],
        setting(
            'Another mode for some cgroups and all below them: "/path below the hierarchy\'s root" = "hash". The longest path counts; a '
            "row whose path is not known is kept by the strictest mode in use.",
            kind=_SCOPES,
        ),
    ] = msgspec.field(default_factory=dict)
    key: Annotated[str, setting("Key of the hashes.")] = ""
    patterns: Annotated[
        dict[str, str],
        setting(
            'Your own patterns, name = "RE2 expression"; a group named `secret` is replaced, else the whole match.',
        ),
    ] = msgspec.field(default_factory=dict)
    programs: Annotated[
        dict[str, tuple[str, ...]],
        setting(
            'Your own programs, and where in their command lines a secret stands: "name" = ["-p SECRET", "login * SECRET"]. They add to '
            "the table that comes with Firsthand (docs/privacy.md shows it and the language of the forms); [] takes a program out of that "
            "table.",
            kind=_PROGRAMS,
        ),
    ] = msgspec.field(default_factory=dict)

    @property
    def read_args(self) -> bool:
        """Whether any row keeps something of its arguments; else the kernel side does not read them."""
        return any(mode != "drop" for mode in (self.mode, *self.scopes.values()))
