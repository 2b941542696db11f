"""Whether a word names a watched file, run alone (watch.h, naming.h): the kernel side against the settings' own reading of the list."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.probe import watching
from firsthand.probe.loaded import Loaded
from firsthand.settings.watchlist import ABOVE, READ, WRITE, Watchlist, checked
from tests.kernel.functions.functions import Functions

_WORKING = -100
_RAW, _TRUNCATED = 1 << 1, 1 << 3


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    """The object, in the kernel once for all tests."""
    with Functions("naming") as made:
        yield made


def _watch(functions: Functions, watched: Watchlist) -> None:
    """Have this list in force, as the loader does."""
    watching.write(Loaded(Path("/"), -1, functions.maps), watched)


def _named(functions: Functions, word: str, access: int) -> Any:
    """What is found of a word."""
    memory = ctypes.create_string_buffer(os.fsencode(word))
    call = functions.given()
    call["word"], call["folder"], call["access"] = ctypes.addressof(memory), _WORKING, access
    return functions.run("run_name", call)


def _path(call: Any) -> str:
    return os.fsdecode(call["path"][: call["length"]].tobytes())


_NAMES = st.sampled_from(("a", "b", "ab", "abb", ".ssh", "key.pem", "longer-than-eight", "longer-than-nine"))
_WILD = st.sampled_from(("*", "?", "a*", "*b", "*b*", "**", "a**b", "key.*", "long*-eight", "???"))
_DEEP = st.lists(_NAMES, min_size=1, max_size=5)


def _kept(entry: str) -> bool:
    with suppress(ValueError):
        return bool(checked([entry]))
    return False


_ENTRIES = st.builds(
    lambda begin, parts, end: begin + "/".join(parts) + end,
    st.sampled_from(("/", "**/")),
    st.lists(_NAMES | _WILD, min_size=1, max_size=4),
    st.sampled_from(("", "/")),
).filter(_kept)
_LISTS = st.builds(
    lambda read, write: Watchlist(tuple(dict.fromkeys(read)), tuple(dict.fromkeys(write))),
    st.lists(_ENTRIES, min_size=1, max_size=5),
    st.lists(_ENTRIES, max_size=5),
)


@given(watched=_LISTS, paths=st.lists(_DEEP, min_size=1, max_size=12), access=st.sampled_from((READ, WRITE)))
def test_both_sides_read_a_list_alike(
    functions: Functions, watched: Watchlist, paths: list[list[str]], access: int
) -> None:
    """Law: a file is watched where the list covers its path, by its folders and patterns, and nowhere else."""
    _watch(functions, watched)
    for names in paths:
        path = "/" + "/".join(names)
        found = _named(functions, path, access)
        assert (_path(found), bool(found["watched"])) == (path, watched.covers(path, access)), (path, watched)


@given(watched=_LISTS, names=_DEEP, data=st.data())
def test_a_word_has_many_spellings(
    functions: Functions, watched: Watchlist, names: list[str], data: st.DataObject
) -> None:
    """`.`, `..` and // between its names change nothing, and the path says that it is the caller's word."""
    _watch(functions, watched)
    between = st.lists(
        st.sampled_from(("/", "/./", "//", "/b/../", "/x/y/../../")), min_size=len(names), max_size=len(names)
    )
    word = "".join(slash + name for slash, name in zip(data.draw(between), names, strict=True))
    path = "/" + "/".join(names)
    found = _named(functions, word, READ)
    assert (_path(found), found["flags"]) == (path, _RAW)
    assert bool(found["watched"]) == watched.covers(path, READ)


def test_a_word_below_the_working_folder(functions: Functions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's own names count, also those that `..` leads to."""
    place = tmp_path.resolve()
    (place / "secret/in").mkdir(parents=True)
    monkeypatch.chdir(place / "secret/in")
    _watch(functions, Watchlist((f"{place}/secret/",)))
    for word, watched in (("x", True), ("../y", True), ("..", True), ("../../z", False), ("../../secret/in/w", True)):
        found = _named(functions, word, READ)
        assert (_path(found), bool(found["watched"])) == (os.path.normpath(place / "secret/in" / word), watched)


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/srv", True),
        ("/srv/one", True),
        ("/srv/one/two", True),
        ("/srv/one/two/three", True),
        ("/srv/one/two/three/four", True),
        ("/srv/one/two/three/five", False),
        ("/other", False),
        ("/var", True),
    ],
)
def test_folders_above_what_is_watched(functions: Functions, path: str, above: bool) -> None:
    """All of them, for their renaming moves it; those behind a pattern are not known."""
    _watch(functions, Watchlist(("/srv/one/two/three/four/file", "/var/*/deep/file")))
    assert bool(_named(functions, path, ABOVE)["watched"]) is above
    assert not _named(functions, path, READ | WRITE)["watched"]


@pytest.mark.parametrize(("names", "met"), [(1, False), (14, True)])
def test_a_pattern_that_takes_long_counts_as_met(functions: Functions, names: int, met: bool) -> None:
    """GLOB_STEPS of watch.h: rather a row too many than a file that is missed. A shorter path of the same kind is not met."""
    watched = Watchlist(("/folder/**aaaaaaaab",))
    _watch(functions, watched)
    path = "/folder" + ("/" + "a" * 250) * names
    assert not watched.covers(path, READ)
    assert bool(_named(functions, path, READ)["watched"]) is met


def test_a_literal_entry_is_compared_whole(functions: Functions) -> None:
    """Of a path 256 letters are compared: an entry has at most 200, so that its end is among them."""
    entry = "/" + "n" * 199
    _watch(functions, Watchlist((entry, "/folder/")))
    found = {
        path: bool(_named(functions, path, READ)["watched"]) for path in (entry, entry + "n", entry[:-1], entry + "/x")
    }
    assert list(found.values()) == [True, False, False, False]
    assert _named(functions, "/folder/" + "/".join(["m" * 250] * 10), READ)["watched"]


def test_a_name_that_no_file_has_is_left_out_and_said(functions: Functions) -> None:
    """What else the word says is looked for all the same."""
    _watch(functions, Watchlist(("/a/b",)))
    found = _named(functions, "/a/" + "x" * 256 + "/b", READ)
    assert (_path(found), found["flags"], bool(found["watched"])) == ("/a/b", _RAW | _TRUNCATED, True)


def test_a_word_that_cannot_be_read_is_counted(functions: Functions) -> None:
    """FILE_UNREAD of the subject's own losses: whether it named a watched file nobody knows."""
    unread = functions.constants("file_failure")["FILE_UNREAD"]
    call = functions.given()
    call["word"], call["access"], call["folder"] = 8, READ, _WORKING
    before = functions.sum("file_failures", unread)
    assert not functions.run("run_name", call)["watched"]
    assert functions.sum("file_failures", unread) == before + 1


@given(name=_NAMES, length=st.integers(1, 40))
def test_a_name_is_known_by_its_first_letters_and_its_length(functions: Functions, name: str, length: int) -> None:
    """Only the list's own names lead on; one that begins alike but is longer does not."""
    _watch(functions, Watchlist((f"/{name}/",)))
    for one in (name, (name * 40)[:length]):
        call = functions.given()
        call["path"][: len(one)] = list(one.encode())
        call["length"], call["access"] = len(one), READ
        same = len(one) == len(name) and one[:8] == name[:8]
        assert functions.run("run_entries", call)["names"] == same, one
