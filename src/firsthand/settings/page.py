"""What is written from the declarations: the default file, its page, the JSON schema. `python -m firsthand.settings.page [--check]`."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec

from firsthand.settings import DEFAULTS
from firsthand.settings.check import expected
from firsthand.settings.declare import TOP, Section, Setting, declared, fields, sections

PAGE = Path("docs/configuration.md")
_WIDTH = 118
_HEAD = """# Firsthand's settings. Read from the first of: $FIRSTHAND_CONFIG, /etc/firsthand/config.toml,
# $XDG_CONFIG_HOME/firsthand/config.toml. An option on the command line or a variable comes before this file.
"""
_BEGIN, _END = "<!-- settings: written by `make docs` -->", "<!-- end of settings -->"
_NOBODY = "nothing"


def default_file() -> str:
    """The default file: each setting with its text, at its default."""
    return "\n".join([_HEAD, *(_section(name, kind) for name, kind in sections().items())])


def _section(name: str, kind: type[Section]) -> str:
    heading = f"[{name}]\n" if name else ""
    return heading + ("\n" if name == TOP else "").join(_entry(one) for one in fields(kind).values())


def _entry(setting: Setting) -> str:
    text = "\n".join(
        textwrap.wrap(setting.doc, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
    )
    if setting.absent:
        return f'{text}\n# {setting.key} = "/var/lib/firsthand"\n'
    return f"{text}\n{_line(setting.key, written(setting))}\n"


def written(setting: Setting) -> Any:
    """The default as a file has it."""
    return msgspec.to_builtins(setting.kind.written(setting.default) if setting.kind else setting.default)


def _line(key: str, value: Any) -> str:
    whole = f"{key} = {_toml(value)}"
    if len(whole) <= _WIDTH or not isinstance(value, list | tuple):
        return whole
    items = textwrap.wrap(
        ", ".join(map(_toml, value)) + ",",
        _WIDTH,
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
    return "\n".join([f"{key} = [", *items, "]"])


def _toml(value: Any) -> str:
    return json.dumps(value)  # of booleans, numbers, texts, lists of texts, and {}: TOML has the same form


def schema() -> dict[str, Any]:
    """JSON schema (2020-12) of the settings file, for editors."""
    known = sections()
    inner = {name: _object(kind) for name, kind in known.items() if name != TOP}
    top = _object(known[TOP])
    top["properties"] |= inner
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Firsthand's settings", **top}


def _object(kind: type[Section]) -> dict[str, Any]:
    properties = {one.key: _property(one) for one in fields(kind).values()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _property(setting: Setting) -> dict[str, Any]:
    found = dict(setting.kind.schema) if setting.kind else msgspec.json.schema(setting.type)
    bounds = {"minimum": setting.least, "maximum": setting.most}
    found |= {word: bound for word, bound in bounds.items() if bound is not None}
    if setting.absent:
        return {"type": "string", "description": setting.doc}
    return found | {"description": setting.doc, "default": written(setting)}


def page() -> str:
    """docs/configuration.md with the default file and the table of settings in their place."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    after = rest.partition(_END)[2]
    rows = [_row(one) for one in declared()]
    table = ["| setting | takes | a change starts again |", "|---|---|---|", *rows]
    return f"{before}{_BEGIN}\n\n```toml\n{default_file()}```\n\n" + "\n".join(table) + f"\n\n{_END}{after}"


def _row(setting: Setting) -> str:
    return f"| `{setting.name}` | {expected(setting)} | {f'the {setting.role}' if setting.role else _NOBODY} |"


def main(arguments: list[str]) -> int:
    """Write file and page, or with --check say whether they are as generated."""
    wrong = []
    for path, text in ((DEFAULTS, default_file()), (PAGE, page())):
        if "--check" not in arguments:
            path.write_text(text)
        elif path.read_text() != text:
            wrong.append(str(path))
    for name in wrong:
        print(f"{name} is not as generated: run `make docs` and commit it", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
