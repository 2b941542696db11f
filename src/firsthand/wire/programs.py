r"""Where in the command lines of which programs a secret stands: forms as a user writes them, made into expressions.

A form such as `-u *:SECRET` (the language stands at the top of programs.toml) becomes an expression of RE2 over one command: each
word behind the program, with a NUL before it and without its quotes. So the observer, which applies them (`commands.py`), reads
no form: `run` and `config check` compile the user's and hand expressions on. Bounds: 128 programs of a user, 16 forms each,
128 characters a form, 64 KiB of expressions in all.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from firsthand.errors import RedactionError

PACKAGED = Path(__file__).with_name("programs.toml")
MOST_PROGRAMS, MOST_FORMS, MOST_CHARACTERS, MOST_WORDS = 128, 16, 128, 12
#: The observer gets them in one argument, of which Linux takes 128 KiB (MAX_ARG_STRLEN, include/uapi/linux/binfmts.h).
MOST_BYTES = 64 << 10
#: The word that stands for a secret, and the one for what is piped in.
SECRET, PIPED = "SECRET", "<<<"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+\-]{0,63}")
_PART = re.compile(r"SECRET|\*|\?|[^*?S]+|S")
#: Options between two words of a form; any words; one word that is no option.
_SKIP, _ANY, _ONE = r"(?:\x00-[^\x00]*)*?", r"(?:\x00[^\x00]*)*?", r"(?:[^\x00\-][^\x00]*|-)"
#: A value is no option: no dash first, unless long and with a digit in it.
_VALUE = r"(?P<secret>[^\x00\-][^\x00]*|-[^\x00\-]{3,}[0-9][^\x00]*)"
_INNER = r"(?P<secret>[^\x00]+)"
_GROUP = re.compile(r"\(\?P<secret>")
Table = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Program:
    """`names` as they are called, lower case; pairs of a text that stands in each match, lower case, and an expression of RE2 over
    one command; `keys`: one of these expressions stands in each row that matches."""

    names: tuple[str, ...]
    expressions: tuple[tuple[str, str], ...]
    keys: tuple[str, ...]


def table(user: Sequence[Program] = ()) -> tuple[Program, ...]:
    """The packaged programs without the names that a user's program without forms takes out, and the user's."""
    out = {name for program in user if not program.expressions for name in program.names}
    kept = [replace(one, names=tuple(name for name in one.names if name not in out)) for one in packaged()]
    return (*(one for one in kept if one.names), *(one for one in user if one.expressions))


@functools.cache
def packaged() -> tuple[Program, ...]:
    """The table of programs.toml, compiled: names with the same forms as one program."""
    forms = _by_name(tomllib.loads(PACKAGED.read_text())["programs"])
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, found in forms.items():
        alike[tuple(dict.fromkeys(found))].append(name)
    return tuple(_program(names, found) for found, names in alike.items())


def compile_programs(user: Table, where: str = "redaction.programs") -> tuple[Program, ...]:
    """A user's table, compiled: it adds to the packaged one; a name with no forms takes its packaged ones out.

    RedactionError, with the form and what to write, for what is no form, and beyond the bounds.
    """
    found = dict(_names(user, where))
    if len(found) > MOST_PROGRAMS:
        raise RedactionError(f"{where}: at most {MOST_PROGRAMS} programs, found {len(found)}: leave out some")
    programs = tuple(_program([name], forms) for name, forms in found.items())
    size = len(json.dumps([asdict(program) for program in programs]))
    if size > MOST_BYTES:
        raise RedactionError(
            f"{where}: at most {MOST_BYTES} bytes once compiled, found {size}: use fewer or shorter forms"
        )
    return programs


def _by_name(table: Table) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for names, forms in table.items():
        for name in names.split():
            found[name] += forms
    return dict(found)


def _names(user: Table, where: str) -> Iterator[tuple[str, list[str]]]:
    for names, forms in user.items():
        if not isinstance(forms, list | tuple) or not all(isinstance(form, str) for form in forms):
            raise RedactionError(f'{where}: {names!r}: expected a list of forms such as ["-p SECRET"], found {forms!r}')
        if len(forms) > MOST_FORMS:
            raise RedactionError(f"{where}: {names!r}: at most {MOST_FORMS} forms, found {len(forms)}: use * in some")
        for form in forms:
            _check(form, f"{where}: {names!r}")
        if not names.split():
            raise RedactionError(f"{where}: expected a program's name before the forms {list(forms)!r}")
        for name in names.split():
            if not _NAME.fullmatch(name):
                raise RedactionError(
                    f"{where}: program {name!r}: write its file's name in lower case, without folders, at most 64 characters"
                )
            yield name, list(forms)


def _check(form: str, where: str) -> None:
    words = form.split()
    if len(form) > MOST_CHARACTERS or len(words) > MOST_WORDS:
        limit = f"at most {MOST_CHARACTERS} characters and {MOST_WORDS} words"
        raise RedactionError(f"{where}: a form has {limit}: shorten {form[:40]!r}...")
    if SECRET not in form:
        raise RedactionError(f"{where}: write SECRET where the secret stands; found {form!r}")
    if any(word.count(SECRET) > 1 for word in words):
        raise RedactionError(f"{where}: SECRET stands once in a word; found {form!r}")
    if not form.isascii() or not form.isprintable():
        raise RedactionError(f"{where}: a form is plain text of ASCII; found {form!r}")
    if words[-1] == "...":
        raise RedactionError(f"{where}: nothing can follow from ... at a form's end: leave it out of {form!r}")


def _program(names: Sequence[str], forms: Sequence[str]) -> Program:
    """Forms that begin alike compete, the longest first: `AUTH * SECRET` before `AUTH SECRET`. The others are tried each by itself."""
    groups: dict[str, list[str]] = defaultdict(list)
    for form in sorted(forms, key=lambda form: -len(form.split())):
        groups[form if "..." in form or PIPED in form else form.split()[0]].append(form)
    expressions = tuple(
        (_literal_of(group), _together([_expression(form) for form in group])) for group in groups.values()
    )
    return Program(tuple(names), expressions, _keys(forms))


def _literal_of(group: Sequence[str]) -> str:
    """The longest plain text that each form of a group has: of the word that they begin with, or of any of a single one."""
    words = group[0].split() if len(group) == 1 else group[0].split()[:1]
    parts = [part for word in words if word != "..." for part in re.split(r"SECRET|[*?]", word)]
    return max(parts, key=len, default="").lower()


def _together(expressions: Sequence[str]) -> str:
    """One expression of alternatives; each of its groups with a name of its own."""
    count = itertools.count()
    return _GROUP.sub(lambda _: f"(?P<secret{next(count)}>", "|".join(expressions))


def _keys(forms: Sequence[str]) -> tuple[str, ...]:
    """For each form a cheap expression that stands in the text of each of its matches, behind the program's name."""
    return tuple(dict.fromkeys(_key(form.split()) for form in forms))


def _key(words: Sequence[str]) -> str:
    if PIPED in words:
        return PIPED
    telling = [word for word in words if word not in (SECRET, "*", "...")]
    if not telling:
        return ""
    options = [word for word in telling if word[0] in "-/+"]
    word = (options or telling)[0]
    return "".join(_key_part(part, word) for part in _PART.findall(word.partition(SECRET)[0]))


def _key_part(part: str, word: str) -> str:
    if part in ("*", "?"):
        return r"[^\n\x00\s]" + (part if part == "*" else "")
    return _literal(part, word)


def _literal(part: str, word: str) -> str:
    return f"(?-i:{re.escape(part)})" if word.startswith("-") else re.escape(part)


def _expression(form: str) -> str:
    """One form. What stands at its beginning decides: a word or an option counts anywhere, * and SECRET from the program's name."""
    words = form.split()
    parts = [] if _anywhere(words[0]) else ["^"]
    after = ""
    for word in words:
        if word == "...":
            parts.append(_ANY)
        elif _is_option(after) and not _is_option(word):
            parts.append(r"[\x00=]" + _word(word))
        else:
            parts.append(("" if _is_option(word) or word == PIPED else _SKIP) + r"\x00" + _word(word))
        after = word
    return "".join(parts) + ("" if words[-1].endswith((SECRET, "*")) else r"(?:\x00|$)")


def _anywhere(word: str) -> bool:
    return word == "..." or not (word.startswith((SECRET, "*", "?")))


def _is_option(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and SECRET not in word


def _word(word: str) -> str:
    if word == "*":
        return _ONE
    if word == SECRET:
        return _VALUE
    parts = _PART.findall(word)
    return "".join(_part(part, parts[place + 1 : place + 2], word, place == 0) for place, part in enumerate(parts))


def _part(part: str, following: list[str], word: str, begins: bool) -> str:
    if part == SECRET:
        return _INNER
    if part == "?":
        return r"[^\x00]"
    if part == "*":
        return _glob(following, word, begins)
    return _literal(part, word)


def _glob(following: list[str], word: str, begins: bool) -> str:
    """Any text up to what follows, no dash where the word begins; in a group of short options letters, in a long option dashes too."""
    if word.startswith("--"):
        return r"[a-z0-9\-]*"
    if word.startswith("-"):
        return r"[A-Za-z0-9]*"
    stop = following[0][0] if following and following[0] not in (SECRET, "*", "?") else ""
    any_text = rf"[^\x00{re.escape(stop)}]*" if stop and not stop.isalnum() else r"[^\x00]*?"
    return rf"(?:[^\x00\-{re.escape(stop)}]{any_text})?" if begins else any_text
