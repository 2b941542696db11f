"""Secrets never leave redaction, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthand.errors import RedactionError
from firsthand.wire import _drain
from firsthand.wire.batch import Batch, Lists, Text, text
from firsthand.wire.patterns import DEFAULTS, Pattern
from firsthand.wire.redact import DROP, HASH, MARK, MASK, Redactor, _hint, compile_redactor, redact_texts
from tests.unit.wire.secrets import NEAR_MISSES, Shape, cut, places, shaped

REDACTOR = compile_redactor()
SHAPES = places() + shaped()
ITEM = st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"?"))
FRAGMENT = st.sampled_from(
    [
        b"--password",
        b"--token=",
        b"secret",
        b"hunter2",
        b"",
        b"\n",
        b"'",
        b'"',
        b"sh",
        b"-c",
        b"mysql",
        b"-p",
        b"-pabc1",
        b"a://b:c@d",
        b"Authorization: Bearer",
        b"abcdefghijklmnopqrst",
        b"PASSWORD=x y",
        b"-----BEGIN PRIVATE KEY-----",
        b"\xff\xfe",
    ]
)
ROWS = st.lists(st.lists(ITEM | FRAGMENT, max_size=5), max_size=6)


def lists(rows: Sequence[Sequence[bytes]]) -> Lists:
    """Rows of arguments as columns."""
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Lists(offsets, text([item for row in rows for item in row]))


def rows_of(args: Lists) -> list[list[bytes]]:
    """Columns as rows again."""
    return [args.row(i) for i in range(len(args))]


def redact(row: Sequence[str | bytes], redactor: Redactor = REDACTOR) -> list[bytes]:
    """One row's arguments, redacted."""
    encoded = [item.encode() if isinstance(item, str) else item for item in row]
    return rows_of(redactor.apply(lists([encoded])).args)[0]


def test_there_are_200_shapes_and_60_near_misses() -> None:
    """The promise is counted: distinct rows, each with its secret in it."""
    assert len({tuple(row) for row, _ in SHAPES}) >= 200 and len(set(NEAR_MISSES)) >= 60
    assert all(secret in "\0".join(row) for row, found in SHAPES + cut() for secret in found)


@pytest.mark.parametrize(
    ("row", "found"), SHAPES + cut(), ids=lambda v: " ".join(v)[:60].encode("ascii", "replace").decode()
)
def test_no_secret_survives(row: list[str], found: list[str]) -> None:
    """A secret shape, whole or cut by truncation, leaves nothing of the secret, and the row says by which pattern."""
    encoded = [item.encode() for item in row]
    done = REDACTOR.apply(lists([encoded]))
    assert not any(secret.encode() in done.args.items.data.tobytes() for secret in found), rows_of(done.args)
    assert done.redacted.all() and done.patterns.row(0)
    assert len(done.args.row(0)) == len(row)
    block = REDACTOR.apply_text(text([b"\0".join(encoded)])).column
    assert block.data.tobytes() == b"\0".join(done.args.row(0))


@pytest.mark.parametrize("row", NEAR_MISSES, ids=" ".join)
def test_near_misses_stay_whole(row: tuple[str, ...]) -> None:
    """What only looks like a secret keeps every byte."""
    assert redact(row) == [item.encode() for item in row]


def _shouted(shape: Shape) -> list[str]:
    return [word.upper() if word.startswith("--") and "=" not in word else word for word in shape[0]]


def test_flags_are_found_in_any_case() -> None:
    """--PASSWORD is --password."""
    flags = [
        shape for shape in places() if shape[0][0] == "app" and len(shape[0]) == 3 and shape[0][1].startswith("--")
    ]
    assert len(flags) > 20
    for shape in flags:
        assert shape[1][0].encode() not in b"\0".join(redact(_shouted(shape))), shape


def test_all_shapes_in_one_batch_are_as_each_alone() -> None:
    """A batch of N rows gives what N batches of one give, near misses between them included."""
    rows = [[item.encode() for item in row] for row, _ in SHAPES + cut()]
    between = [[item.encode() for item in row] for row in NEAR_MISSES]
    mixed = [row for pair in zip(rows, between * 4, strict=False) for row in pair]
    done = REDACTOR.apply(lists(mixed))
    alone = [REDACTOR.apply(lists([row])) for row in mixed]
    assert rows_of(done.args) == [one.args.row(0) for one in alone]
    assert [done.patterns.row(i) for i in range(len(mixed))] == [one.patterns.row(0) for one in alone]


@settings(deadline=None, max_examples=300)
@given(ROWS)
def test_rows_never_leak_into_each_other(rows: list[list[bytes]]) -> None:
    """Whatever bytes and borders: the batch is the rows, one by one, and unflagged rows are unchanged."""
    done = REDACTOR.apply(lists(rows))
    assert rows_of(done.args) == [rows_of(REDACTOR.apply(lists([row])).args)[0] for row in rows]
    for i, row in enumerate(rows):
        assert done.redacted[i] == (done.args.row(i) != row) or MARK in b"".join(row)
        assert done.redacted[i] == bool(done.patterns.row(i))


@settings(deadline=None, max_examples=200)
@given(ROWS, st.lists(st.tuples(st.integers(0, 99), st.sampled_from([MASK, MASK, HASH, DROP])), max_size=40))
def test_rows_that_come_again_are_as_each_alone(rows: list[list[bytes]], order: list[tuple[int, int]]) -> None:
    """Few different rows in any order, one with a secret among them, each time in a mode of its own."""
    rows = [*rows, [b"mysql", b"-u", b"root", b"-phunter2hunter2"], [], [b"", b""]]
    mixed = [(rows[number % len(rows)], mode) for number, mode in order]
    modes = np.array([mode for _, mode in mixed], dtype=np.int8)
    done = REDACTOR.apply(lists([row for row, _ in mixed]), modes)
    for i, (row, mode) in enumerate(mixed):
        alone = REDACTOR.apply(lists([row]), np.array([mode], dtype=np.int8))
        assert (done.args.row(i), done.patterns.row(i)) == (alone.args.row(0), alone.patterns.row(0))
        assert done.redacted[i] == alone.redacted[0]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"\0", b"long enough for two words", b"\0\0\0"]), max_size=4)
    )
)
def test_equal_rows_are_known_by_their_first(rows: list[list[bytes]]) -> None:
    """Rows of the same bytes with other borders between them are not equal."""
    args, first = lists(rows), dict[tuple[bytes, ...], int]()
    wanted = [first.setdefault(tuple(row), i) for i, row in enumerate(rows)]
    assert _drain.repeats(args.offsets, args.items.offsets, args.items.data).tolist() == wanted


def _meeting(number: int) -> list[bytes]:
    """Rows of one hash: of two words the second takes back what the top bit of the first one changed (`_mixed` of _drain.pyx)."""
    rows = []
    for chosen in range(number):
        words = []
        for block in range(8):
            turned = chosen >> block & 1
            words += [0x4141414141414141 ^ turned << 63, 0x4242424242424242 ^ (turned << 63 | turned << 34)]
        rows.append(b"".join(word.to_bytes(8, "little") for word in words))
    return rows


def test_rows_that_meet_on_purpose_cost_no_more() -> None:
    """Law: a program that chooses its arguments so that they meet in the table makes rows be looked at one by one, and the table no slower."""
    rows = _meeting(200) * 2
    args = lists([[row] for row in rows])
    first = _drain.repeats(args.offsets, args.items.offsets, args.items.data).tolist()
    assert all(rows[place] == rows[i] for i, place in enumerate(first))
    assert first[:200] == list(range(200)) and first[200:210] == list(range(10)), "the first ones are in the table"
    assert first[300:400] == list(range(300, 400)), (
        "not all are looked at: they do not meet, or the search has no bound"
    )


@settings(deadline=None, max_examples=200)
@given(ROWS)
def test_the_first_scan_leaves_nothing_out(rows: list[list[bytes]]) -> None:
    """Where a pattern matches, a hint does: scanning every row with every pattern finds no more."""
    assert rows_of(REDACTOR.apply(lists(rows)).args) == rows_of(_unhinted().apply(lists(rows)).args)


def test_the_first_scan_leaves_no_shape_out() -> None:
    """The same over all shapes and near misses."""
    rows = [[item.encode() for item in row] for row in [*(row for row, _ in SHAPES + cut()), *NEAR_MISSES]]
    hinted, all_of_them = REDACTOR.apply(lists(rows)), _unhinted().apply(lists(rows))
    assert rows_of(hinted.args) == rows_of(all_of_them.args)
    assert hinted.patterns.data.tobytes() == all_of_them.patterns.data.tobytes()


@settings(deadline=None, max_examples=100)
@given(ROWS, st.sampled_from([r"a[\s\S]*", r"[^q]+", r"(?s)x.*y", r"(?P<secret>\W+)z", r"^.+$", r"b\n", r"\x00.+"]))
def test_user_patterns_cannot_leave_their_row(rows: list[list[bytes]], expression: str) -> None:
    """Even a pattern that takes everything takes it of one row, whatever is in the batch with it."""
    redactor = _user(expression)
    whole = rows_of(redactor.apply(lists(rows)).args)
    assert whole == [rows_of(redactor.apply(lists([row])).args)[0] for row in rows]
    assert [len(row) for row in whole] == [len(row) for row in rows]


_BUILT: dict[str, Redactor] = {}


def _user(expression: str) -> Redactor:
    if expression not in _BUILT:
        _BUILT[expression] = compile_redactor([Pattern("mine", expression)])
    return _BUILT[expression]


def _every_row(buffer: bytes) -> set[int]:
    return {place for place, byte in enumerate(buffer[:-1]) if byte == 10}


def _unhinted() -> Redactor:
    if "" not in _BUILT:
        redactor = compile_redactor()
        redactor._hint = _hint([Pattern("any", r"[\x00-\xff]")])
        redactor._programs.rows = _every_row  # type: ignore[method-assign]
        _BUILT[""] = redactor
    return _BUILT[""]


def test_empty_batches_and_rows() -> None:
    """Nothing in, nothing out: no rows, rows without arguments, empty arguments, null rows."""
    assert len(REDACTOR.apply(lists([])).args) == 0 and len(REDACTOR.apply_text(text([])).column) == 0
    rows = [[], [b""], [b"", b"", b"--password", b"", b"x"], [], [b"--password"], [b"x"], [b""]]
    args = lists(rows)
    args.valid = np.array([row != [] for row in rows])
    done = REDACTOR.apply(args)
    assert rows_of(done.args) == rows and not done.redacted.any()
    assert done.args.valid is not None and list(done.args.valid) == list(args.valid)


def test_columns_may_begin_anywhere() -> None:
    """A slice of a larger column gives what its rows alone give."""
    rows = [[b"a", b"b"], [b"x", b"--token", b"t0p"], [b"c"]]
    whole = lists(rows)
    part = Lists(whole.offsets[1:3], whole.items)
    assert rows_of(REDACTOR.apply(part).args) == [[b"x", b"--token", MARK]]


def test_hostile_bytes_do_not_disturb() -> None:
    """Invalid UTF-8 and control bytes beside and inside a secret: it goes, they stay."""
    assert redact([b"a\xff\xfe", b"--password", b"\xc3\x28\x80pw", b"\x1b[2J\n"]) == [
        b"a\xff\xfe",
        b"--password",
        MARK,
        b"\x1b[2J\n",
    ]
    quotes = [b"sh", b"-c", b"'\"" * 2048]
    assert redact(quotes) == quotes


def test_paths_and_urls_as_strings() -> None:
    """apply_text redacts one-string columns and keeps nulls."""
    column = Text(*_text(b"/srv/a", b"https://u:pw1x@h/", b""), np.array([True, True, False]))
    done = REDACTOR.apply_text(column)
    assert [done.column.row(i) for i in range(3)] == [b"/srv/a", b"https://u:[redacted]@h/", b""]
    assert list(done.redacted) == [False, True, False] and done.patterns.row(1) == b"url"
    assert done.column.valid is not None and list(done.column.valid) == [True, True, False]


def _text(
    *rows: bytes,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int32]], np.ndarray[tuple[int], np.dtype[np.uint8]]]:
    made = text(list(rows))
    return made.offsets, made.data


def test_hashes_are_keyed_and_leave_the_program() -> None:
    """Mode hash: every argument but the first, equal for equal ones, other under another key; a secret argv[0] is masked."""
    redactor, other = compile_redactor(mode="hash", key=b"k"), compile_redactor(mode="hash", key=b"l")
    rows = [[b"ls", b"-l", b"/x"], [b"cat", b"/x", b""], [b"https://a:b1c@h", b"y"], [b"only"], []]
    done = redactor.apply(lists(rows))
    found = rows_of(done.args)
    assert found[0][2] == found[1][1] and len(found[0][2]) == 21 and found[0][2].startswith(b"hash:")
    assert found[1][2].startswith(b"hash:") and found[2][0] == b"https://a:[redacted]@h"
    assert [done.patterns.row(i) for i in range(5)] == [b"hashed", b"hashed", b"hashed,url", b"", b""]
    assert rows_of(other.apply(lists(rows)).args)[0][2] != found[0][2]
    block = redactor.apply_text(text([b"\0".join(row) for row in rows]))
    assert [block.column.row(i) for i in range(5)] == [b"\0".join(row) for row in found]


def test_dropped_rows_are_empty_and_say_so() -> None:
    """Mode drop: no argument is left, nor of the block."""
    redactor = compile_redactor(mode="drop")
    done = redactor.apply(lists([[b"ls", b"-l"], [], [b"x"]]))
    assert rows_of(done.args) == [[], [], []] and not len(done.args.items.data)
    assert [done.patterns.row(i) for i in range(3)] == [b"dropped", b"", b"dropped"]
    block = redactor.apply_text(text([b"ls\0-l", b""]))
    assert block.column.data.tobytes() == b"" and list(block.redacted) == [True, False]


def test_each_row_may_have_its_mode() -> None:
    """Modes by row: the scope's setting, not its neighbour's."""
    redactor = compile_redactor(key=b"k")
    rows = [[b"a", b"--token", b"t0p"], [b"b", b"--token", b"t0p"], [b"c", b"--token", b"t0p"], [b"d", b"e"]]
    done = redactor.apply(lists(rows), np.array([MASK, HASH, DROP, MASK], dtype=np.int8))
    found = rows_of(done.args)
    assert found[0] == [b"a", b"--token", MARK] and found[2] == [] and found[3] == rows[3]
    assert found[1][0] == b"b" and all(item.startswith(b"hash:") for item in found[1][1:])
    assert [done.patterns.row(i) for i in range(4)] == [b"flag", b"hashed", b"dropped", b""]


def test_hashing_without_a_key_takes_a_random_one() -> None:
    """Equal arguments stay equal within one redactor, and nobody can look a hash up."""
    one, other = compile_redactor(mode="hash"), compile_redactor(mode="hash")
    hashes = [redact([b"a", b"b"], redactor)[1] for redactor in (one, one, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_user_patterns_add_to_the_defaults() -> None:
    """A user's pattern redacts its group, or its whole match, and is named."""
    redactor = compile_redactor([Pattern("badge", r"badge-(?P<secret>\d+)"), Pattern("room", r"room[0-9]{3}")])
    done = redactor.apply(lists([[b"x", b"badge-12 ROOM123", b"--token", b"t0p"]]))
    assert done.args.row(0) == [b"x", b"badge-[redacted] [redacted]", b"--token", MARK]
    assert done.patterns.row(0) == b"flag,badge,room"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (Pattern("a", r"(x)\1"), "back-references"),
        (Pattern("a", r"(?=x)y"), "look-around"),
        (Pattern("a", r"x*"), "match nothing"),
        (Pattern("a", r"\b"), "match nothing"),
        (Pattern("a", r"x\z"), "instead"),
        (Pattern("a", r"\Cx"), "instead"),
        (Pattern("a", r"(((x{100}){100}){100})"), "bounded"),
        (Pattern("a", "x" * 513), "split"),
        (Pattern("a,b", "x"), "rename"),
        (Pattern("url", "x"), "rename"),
        (Pattern("a", "("), "syntax"),
    ],
)
def test_unusable_patterns_are_refused(pattern: Pattern, reason: str) -> None:
    """What is not linear, bounded and nameable is refused with what to do."""
    with pytest.raises(RedactionError, match=reason):
        compile_redactor([pattern])


def test_patterns_are_bounded_in_number() -> None:
    """64 patterns can be had, 65 cannot, and one name stands for one pattern."""
    many = [Pattern(f"p{i}", f"zq{i}x+") for i in range(65)]
    assert rows_of(compile_redactor(many[:64]).apply(lists([[b"zq63xxx"]])).args) == [[MARK]]
    with pytest.raises(RedactionError, match="at most 64"):
        compile_redactor(many)
    with pytest.raises(RedactionError, match="rename"):
        compile_redactor([many[0], many[0]])


def test_defaults_are_described() -> None:
    """Each default pattern has its own name, a doc and a hint."""
    assert len({p.name for p in DEFAULTS}) == len(DEFAULTS) and all(p.doc and p.hint for p in DEFAULTS)


def _requests(paths: list[str | None], agents: list[str | None]) -> Batch:
    rows = [{"event": "http", "url_path": path, "user_agent": agent} for path, agent in zip(paths, agents, strict=True)]
    return Batch.from_rows("request", rows)


def test_columns_of_text_are_redacted_each_by_itself() -> None:
    """A secret in a path is replaced, its row says so; the path does not run on into the user agent; null stays null."""
    paths = ["/a?password=hunter22222&x=1", "/password", None, "/plain"]
    batch = _requests(paths, ["curl/8", "Mozilla/5.0 (X11)", None, "x"])
    redact_texts(batch, ("url_path", "user_agent"), REDACTOR, None)
    path, agent = batch.columns["url_path"], batch.columns["user_agent"]
    assert isinstance(path, Text) and isinstance(agent, Text) and path.valid is not None
    assert b"hunter2" not in path.data.tobytes() and path.row(0).startswith(b"/a?password=[redacted]")
    assert [path.row(1), path.row(3), agent.row(0), agent.row(1), agent.row(3)] == [
        b"/password",
        b"/plain",
        b"curl/8",
        b"Mozilla/5.0 (X11)",
        b"x",
    ]
    assert path.valid.tolist() == [True, True, False, True]
    assert batch.columns["redacted"].values.tolist() == [1, 0, 0, 0]  # type: ignore[union-attr]
    assert batch.columns["redaction"].row(0) and not batch.columns["redaction"].row(1)  # type: ignore[union-attr]


def test_columns_of_text_by_mode() -> None:
    """hash keeps a keyed hash of each, drop keeps none; null stays null and is no change."""
    batch = _requests(["/a", "/a", None, "/b"], ["x", "x", None, "y"])
    modes = np.array([HASH, HASH, HASH, DROP], dtype=np.int8)
    redact_texts(batch, ("url_path", "user_agent"), compile_redactor(key=b"k"), modes)
    path = batch.columns["url_path"]
    assert isinstance(path, Text) and path.valid is not None
    assert path.row(0) == path.row(1) and path.row(0).startswith(b"hash:") and not path.row(3)
    assert path.valid.tolist() == [True, True, False, False]
    assert batch.columns["redacted"].values.tolist() == [1, 1, 0, 1]  # type: ignore[union-attr]


def test_no_rows_of_text() -> None:
    """An empty batch stays empty."""
    batch = Batch("request", 0, {name: text([]) for name in ("url_path", "user_agent")})
    redact_texts(batch, ("url_path", "user_agent"), REDACTOR, None)
    assert len(batch.columns["url_path"]) == 0  # type: ignore[arg-type]
