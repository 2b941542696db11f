"""The list of watched files: what an entry may be, which paths it covers, and what the kernel's tables have of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from firsthand.settings.watchlist import ABOVE, READ, WRITE, Watchlist, checked, expression, led, pattern_of

_LIST = Watchlist(
    ("/etc/shadow", "/root/.ssh/", "**/.aws/credentials", "/home/*/.kube/"), ("/etc/cron.d/", "/etc/shadow")
)


@pytest.mark.parametrize(
    "entry", ["shadow", "./x", "/", "/*/", "**/", "/a//b", "/a/../b", "/a/./b", "/" + "x" * 200, "/a\0b", "*/x", "**"]
)
def test_what_cannot_be_an_entry(entry: str) -> None:
    """It is refused with the reason."""
    with pytest.raises(ValueError, match=r"\w"):
        checked([entry])


def test_entries_stay_in_their_order_each_once() -> None:
    """As the settings have them."""
    assert checked(["/b", "/a/", "/b", "**/.ssh/"]) == ("/b", "/a/", "**/.ssh/")


@pytest.mark.parametrize(
    ("path", "access", "covered"),
    [
        ("/etc/shadow", READ, True),
        ("/etc/shadow", WRITE, True),
        ("/etc/shadow2", WRITE, False),
        ("/etc/cron.d/", WRITE, True),
        ("/etc/cron.d", WRITE, True),
        ("/etc/cron.d/job", WRITE, True),
        ("/etc/cron.d/job", READ, False),
        ("/etc/cron.d/*.conf", WRITE, True),
        ("/etc/", WRITE, False),
        ("/etc/*", WRITE, False),
        ("/root/.ssh/id/deep", READ, True),
        ("/home/a/.kube/config", READ, True),
        ("/home/a/b/.kube/config", READ, False),
        ("/x/y/.aws/credentials", READ, True),
        ("**/.aws/credentials", READ, True),
        ("/x/.aws/credentials2", READ, False),
    ],
)
def test_which_paths_are_covered(path: str, access: int, covered: bool) -> None:
    """A folder or a pattern is covered only where everything that it can be is."""
    assert _LIST.covers(path, access) is covered


def test_a_folder_is_two_patterns_and_a_literal_one_two_paths() -> None:
    """Itself, and all below it; and the folders above what is watched for writing, whose renaming moves it."""
    above = {"**/.aws", "/home/*"}
    assert set(_LIST.patterns) == {"**/.aws/credentials", "/home/*/.kube", "/home/*/.kube/**"} | above
    assert {pattern for pattern, access in _LIST.patterns.items() if access == ABOVE} == above
    paths = {
        key[4 : 4 + struct.unpack_from("<I", key)[0] // 8]: struct.unpack("<I", value)[0] for key, value in _tables()
    }
    assert paths[b"/etc/cron.d/"] == paths[b"/etc/cron.d\0"] == WRITE
    assert paths[b"/root/.ssh/"] == READ | WRITE and paths[b"/etc/shadow\0"] == READ | WRITE
    assert paths[b"/etc\0"] == paths[b"/root\0"] == paths[b"/home\0"] == ABOVE


def test_every_folder_above_is_looked_at() -> None:
    """However deep an entry lies: a rename of any of them moves it."""
    paths = Watchlist(("/a/b/c/d/e/f",)).tables().paths
    assert {key[4:].rstrip(b"\0") for key, value in paths.items() if struct.unpack("<I", value) == (ABOVE,)} == {
        b"/a",
        b"/a/b",
        b"/a/b/c",
        b"/a/b/c/d",
        b"/a/b/c/d/e",
    }


def test_entries_that_go_over_a_symbolic_link(tmp_path: Path) -> None:
    """Which, and where they lead; what lies behind a * is not looked at."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real, link = f"{tmp_path}/real", f"{tmp_path}/link"
    assert led(
        [f"{link}/", f"{link}/a/b", f"{link}/*/x/", link, f"{real}/", f"{tmp_path}/l*", "**/link/x", "/no/such"]
    ) == {
        f"{link}/": f"{real}/",
        f"{link}/a/b": f"{real}/a/b",
        f"{link}/*/x/": f"{real}/*/x/",
        link: real,
    }


def _tables() -> list[tuple[bytes, bytes]]:
    return list(_LIST.tables().paths.items())


def test_the_longest_entry_has_the_access_of_those_that_begin_it() -> None:
    """The kernel's trie finds that one alone."""
    found = Watchlist(("/etc/ssh/",), ("/etc/",)).tables().paths
    (value,) = [value for key, value in found.items() if key[4:].startswith(b"/etc/ssh/\0")]
    assert struct.unpack("<I", value) == (READ | WRITE,)


def test_patterns_that_stay_keep_their_places() -> None:
    """A list is changed while programs read it: a new pattern takes a free place."""
    first = Watchlist(("**/x", "**/y"))
    before = [pattern_of(glob) for _, glob in sorted(first.tables().globs.items())]
    after = Watchlist(("**/z", "**/y")).tables([*before, ""]).globs
    assert {place: pattern_of(glob) for place, glob in after.items()} == {1: "**/y", 2: "**/z"}


def test_bounds() -> None:
    """More than the kernel's tables hold is refused, with the number."""
    with pytest.raises(ValueError, match="257 entries"):
        Watchlist(tuple(f"/etc/{number}" for number in range(257))).check()
    with pytest.raises(ValueError, match="64 patterns"):
        Watchlist(tuple(f"**/{number}" for number in range(64))).check()
    deep = tuple("/" + "/".join(f"{at:x}{number:02x}" for at in range(40)) for number in range(256))
    with pytest.raises(ValueError, match="names of entries and of folders above"):
        Watchlist(deep).check()


@pytest.mark.parametrize(
    ("pattern", "path", "met"),
    [
        ("/a/*/c", "/a/b/c", True),
        ("/a/*/c", "/a/b/b/c", False),
        ("/a/**/c", "/a/b/b/c", True),
        ("/a/?", "/a/b", True),
        ("/a/?", "/a//", False),
        ("/a/?", "/a/é", True),
        ("**/x.y", "/x.y", True),
        ("**/x.y", "/xay", False),
    ],
)
def test_a_pattern_as_a_regular_expression(pattern: str, path: str, met: bool) -> None:
    """By which questions look for it; tests/kernel/test_file.py has the same cases for the kernel side."""
    assert bool(expression(pattern).fullmatch(path)) is met
