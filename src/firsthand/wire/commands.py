r"""The commands in a row of arguments: words without their quotes, each byte with the place that it came from.

A row is one command; an argument with blanks in it is read as shell text too, which can hold several, and so on to a depth of
three. What a command gets from a pipe of echo or printf, or from a here-string, follows its words behind the word `<<<`. The
shell's grammar is read as far as words and commands go (POSIX.1-2017, Shell Command Language, 2.2 and 2.9); nothing is expanded.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from firsthand.wire._called import Names
from firsthand.wire.programs import PIPED, Program

DEPTH = 3
#: How often an expression is tried on one command.
MOST_FINDS = 32
#: Programs' names in one command behind which secrets are looked for: a real one has two or three, behind launchers. What stands
#: behind a later name stands behind an earlier one too.
MOST_CALLED = 8
#: Words of one row that are looked at: a row has at most 4,096 bytes.
MOST_WORDS = 4096
_TOKEN = re.compile(
    rb"""(?P<here><<<)|(?P<document><<-?[ \t]*["']?(?P<mark>\w+)["']?)|(?P<end>\|\|?|&&?|;+|[\r\n()`]+)|(?P<move>[0-9]*[<>]+&?)"""
    rb"""|(?P<word>(?:[^\s"'\\;|&<>()`]|"(?:[^"\\]|\\.)*"?|'[^']*'?|\\.|\\$)+)""",
    re.DOTALL,
)
_PIECE = re.compile(rb"""'([^']*)'?|"((?:[^"\\]|\\.)*)"?|\\(.)|([^'"\\]+|\\)""", re.DOTALL)
_ESCAPED = re.compile(rb"\\([\"\\$`])")
#: What may stand behind a program's name, or a row's end.
_ENDS = b"\0\t\f\r \"';|&)`"
_FOLDER = re.compile(rb"[/\\]")
_ASSIGNED = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*=")
#: A value that the shell puts in later is no secret; nor is a placeholder.
_LATER = re.compile(rb"\$(?:[A-Za-z_0-9]+|\{[^}]*\}|\([^)]*\)?|[@*#?!])?")
#: Words before a program's name that leave it one. Names of up to three letters count only there and at a command's begin.
_LAUNCHERS = frozenset(
    b"sudo doas exec env nohup nice ionice time command xargs -- then do else if ! while until timeout setsid stdbuf chroot".split()
)
_SHORT = 3
_BLANK = re.compile(rb"[ \t\r]")
_WRITERS = (b"echo", b"printf")


#: A text that stands in each match, and the compiled expression.
_Ready = tuple[bytes, Any]


@dataclass(slots=True)
class Word:
    """`text` without quotes; `places[i]` is where byte i stood; `shell`: the shell may put something in yet."""

    text: bytes
    places: Sequence[int]
    shell: bool = False


#: What stands before piped text; and before commands inside an argument, which begin no command of the program's.
_MARK, _BEGUN = Word(PIPED.encode(), range(len(PIPED))), Word(b"\1", range(1))


@dataclass(slots=True)
class Command:
    """Words, and what is piped in."""

    words: list[Word] = field(default_factory=list)
    piped: Word | None = None


class ProgramTable:
    """Programs by name. `compiled` makes an RE2 of an expression, when the program is first met: most never are."""

    def __init__(self, programs: Sequence[Program], compiled: Callable[[str], Any]) -> None:
        self._by_name: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        self._keys: dict[bytes, list[str]] = defaultdict(list)
        self._hints: dict[bytes, Any] = {}
        for program in programs:
            for name in program.names:
                self._by_name[name.encode()] += program.expressions
                self._keys[name.encode()] += program.keys
        self._compiled = compiled
        self._named = Names([name.encode() for program in programs for name in program.names], _ENDS)
        self._ready: dict[bytes, list[_Ready]] = {}

    def spans(self, buffer: bytes) -> Iterator[tuple[int, int, str]]:
        """(start, end, name) of each secret in a buffer of rows: a newline before each, a NUL between arguments."""
        for begin in sorted(self.rows(buffer)):
            row = buffer[begin + 1 : buffer.find(b"\n", begin + 1)]
            for command in commands(row):
                for start, end, name in self._in_command(command):
                    yield begin + 1 + start, begin + 1 + end, name

    def rows(self, buffer: bytes) -> set[int]:
        """Where the rows begin that hold a program's name and one of its keys: most that hold a name hold none."""
        named = self._named.find(buffer).items()
        return {begin for name, rows in named for begin in self._keyed(name, buffer, rows)}

    def _keyed(self, name: bytes, buffer: bytes, rows: Sequence[tuple[int, int]]) -> Iterator[int]:
        """Where those of the rows begin in which a key of the program stands."""
        if name not in self._hints:
            self._hints[name] = self._compiled(_key_hint(self._keys[name]))
        hint = self._hints[name]
        starts = list(itertools.accumulate((end - begin for begin, end in rows), initial=0))
        piece, at = b"".join([buffer[begin:end] for begin, end in rows]) + b"\n", 0
        while match := hint.search(piece, at):
            number = bisect_right(starts, match.start()) - 1
            yield rows[number][0]
            at = starts[number + 1]

    def _in_command(self, command: Command) -> Iterator[tuple[int, int, str]]:
        called = list(itertools.islice(self._called(command.words), MOST_CALLED))
        within = _commands_within(command.words[called[0][0] :], called[0][0]) if called else []
        for place, name in called:
            for start, end in _found(command, place, within, self._expressions(name)):
                yield start, end, f"program:{name.decode()}"

    def _called(self, words: Sequence[Word]) -> Iterator[tuple[int, bytes]]:
        """The places of known programs among a command's words, and their names."""
        for place, word in enumerate(words):
            name = _base(word.text)
            if name in self._by_name and _called(words, place):
                yield place, name

    def _expressions(self, name: bytes) -> list[_Ready]:
        if name not in self._ready:
            self._ready[name] = [(text.encode(), self._compiled(one)) for text, one in self._by_name[name]]
        return self._ready[name]


def _key_hint(keys: Sequence[str]) -> str:
    words = [key for key in keys if key != PIPED]
    piped = [r"<<|(?:echo|printf)[\x00\s\"'][^\n]*\|"] if PIPED in keys else []
    return "|".join([*([r"[\x00\s\"'](?:" + "|".join(words) + ")"] if words else []), *piped])


def commands(row: bytes) -> Iterator[Command]:
    """The row itself, and those in shell texts among its arguments."""
    whole, start = Command(), 0
    for argument in row.split(b"\0", MOST_WORDS):
        whole.words.append(Word(argument, range(start, start + len(argument))))
        start += len(argument) + 1
    yield whole
    for word in whole.words if _BLANK.search(row) else ():
        if _BLANK.search(word.text):
            yield from _within(word, 1)


def _within(word: Word, depth: int) -> Iterator[Command]:
    for command in _shell(word):
        yield command
        for inner in command.words:
            if depth < DEPTH and len(inner.text) < len(word.text) and _BLANK.search(inner.text):
                yield from _within(inner, depth + 1)


def _shell(text: Word) -> Iterator[Command]:
    """The simple commands of a shell text, in order."""
    current, moved, here = Command(), False, False
    written: list[Word] = []
    for token in _TOKEN.finditer(text.text):
        kind = token.lastgroup
        if kind == "word":
            if here:
                current.piped = _word(text, token)
            elif not moved:
                current.words.append(_word(text, token))
        elif kind == "end":
            yield current
            written = _written(current, written)
            current = Command(piped=_line(written) if token.group() == b"|" else None)
            written = [] if token.group() == b"|" else written
        elif token["document"]:
            current.piped = _document(text, token) or current.piped
        here, moved = kind == "here", kind == "move"
    yield current


def _word(text: Word, token: re.Match[bytes]) -> Word:
    raw, start = token.group(), token.start()
    if not any(mark in raw for mark in (b"'", b'"', b"\\")):
        return Word(raw, text.places[start : start + len(raw)], True)
    content, places = bytearray(), list[int]()
    for piece in _PIECE.finditer(raw):
        for low, high in _kept(raw, piece):
            content += raw[low:high]
            places += text.places[start + low : start + high]
    return Word(bytes(content), places, True)


def _kept(raw: bytes, piece: re.Match[bytes]) -> Iterator[tuple[int, int]]:
    """The parts of one piece of a word that stand for themselves: without quotes, and without backslashes that quote."""
    low, high = piece.span(piece.lastindex or 0)
    if piece.lastindex == 2:
        for escape in _ESCAPED.finditer(raw, low, high):
            yield low, escape.start()
            low = escape.start() + 1
    yield low, high


def _written(command: Command, before: list[Word]) -> list[Word]:
    """The words that echo or printf writes, behind those of its group; another program's output is not known."""
    names = [_base(word.text) for word in command.words]
    at = next((place for place, name in enumerate(names) if name in _WRITERS), None)
    if at is None:
        return [] if names and names != [b"}"] else before
    words = [word for word in command.words[at + 1 :] if not re.fullmatch(rb"-[neE]+", word.text)]
    return [*before, *(words[1:] if names[at] == b"printf" and len(words) > 1 else words)]


def _line(words: Sequence[Word]) -> Word | None:
    """Several words as one, with a blank between, which stands where the next word does."""
    if not words:
        return None
    content, places = bytearray(), list[int]()
    for word in words:
        if content and word.places:
            content += b" "
            places.append(word.places[0])
        content += word.text
        places += word.places
    return Word(bytes(content), places, True)


def _document(text: Word, token: re.Match[bytes]) -> Word | None:
    """The lines of a here-document up to its mark, or to the end where it was cut."""
    line = text.text.find(b"\r", token.end())
    if line < 0:
        return None
    end = text.text.find(b"\r" + token["mark"], line)
    end = len(text.text) if end < 0 else end
    return Word(text.text[line + 1 : end], text.places[line + 1 : end], True)


def _base(name: bytes) -> bytes:
    """A program's name without folders (of either kind) and .exe, lower case."""
    if b"/" in name or b"\\" in name:
        name = _FOLDER.split(name)[-1]
    return name.lower().removesuffix(b".exe")


def _called(words: Sequence[Word], place: int) -> bool:
    """Whether a word is a program's name rather than some argument that is called alike."""
    text = words[place].text
    if place == 0 or len(_base(text)) > _SHORT or b"/bin/" in text:
        return True
    before = words[place - 1].text
    return before in _LAUNCHERS or _base(words[0].text) in _LAUNCHERS or bool(_ASSIGNED.match(before))


def _commands_within(words: Sequence[Word], first: int) -> list[tuple[int, list[Word]]]:
    """The commands in arguments with blanks, each with the place of its argument; `first` is the first word's."""
    return [
        (place, [_BEGUN, *inner.words, *_piped(inner.piped)])
        for place, word in enumerate(words, first)
        if _BLANK.search(word.text)
        for inner in _shell(word)
    ]


def _found(
    command: Command, place: int, within: Sequence[tuple[int, list[Word]]], expressions: Sequence[_Ready]
) -> Iterator[tuple[int, int]]:
    """The places of secrets behind the program; in an argument with blanks its own commands are looked at as well."""
    yield from _matched([*command.words[place + 1 :], *_piped(command.piped)], expressions)
    for at, words in within:
        if at > place:
            yield from _matched(words, expressions)


def _piped(word: Word | None) -> list[Word]:
    """What is piped in, whole, and word by word where it has several."""
    if word is None:
        return []
    inner = [one for command in _shell(word) for one in command.words] if _BLANK.search(word.text) else []
    return [_MARK, word, *([_MARK, *inner] if inner else [])]


def _matched(words: Sequence[Word], expressions: Sequence[_Ready]) -> Iterator[tuple[int, int]]:
    whole = b"".join(b"\0" + word.text for word in words)
    starts = list(itertools.accumulate((len(word.text) + 1 for word in words), initial=1))
    lower = whole.lower()
    for start, end in (span for text, one in expressions if text in lower for span in _spans(whole, one)):
        number = bisect_right(starts, start) - 1
        if not (words[number].shell and _LATER.fullmatch(whole, start, end)):
            places = words[number].places
            yield places[start - starts[number]], places[end - 1 - starts[number]] + 1


def _spans(line: bytes, expression: Any) -> Iterator[tuple[int, int]]:
    """All that an expression finds: again and again, with what was found struck out, as `set ... *=SECRET` finds one at a time."""
    for _ in range(MOST_FINDS):
        found = [
            match.span(group)
            for match in expression.finditer(line)
            for group in range(1, expression.groups + 1)
            if match.end(group) > match.start(group) >= 0
        ]
        if not found:
            return
        yield from found
        for start, end in found:
            start = line.rfind(b"\0", 0, start) + 1
            line = line[:start] + b"-" * (end - start) + line[end:]
