"""Paths as the kernel side reads them, in a process of the test's: from a resolved folder (path.h), and from a word (word.h)."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernel.functions.functions import Functions

_TRUNCATED, _DETACHED = 1, 2
#: AT_FDCWD of fcntl.h, and bounds of maps.h.
_WORKING, _PATH, _DEPTH = -100, 4096, 512


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    """The object, in the kernel once for all tests."""
    with Functions("word") as made:
        yield made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to begin from, with two names below it."""
    found = tmp_path_factory.mktemp("tree").resolve()
    (found / "one/two").mkdir(parents=True)
    return found


@contextmanager
def _within(folder: str | Path | int) -> Iterator[None]:
    """With another working folder."""
    before = os.open(".", os.O_PATH)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def _path(call: Any) -> bytes:
    found: bytes = call["path"][: call["length"]].tobytes()
    return found


def _working(functions: Functions) -> tuple[bytes, int]:
    """The working folder, and flags of the way to it."""
    call = functions.run("run_path", functions.given())
    return _path(call), int(call["flags"]) & (_TRUNCATED | _DETACHED)


def _laid(functions: Functions, word: bytes, folder: int = _WORKING) -> tuple[bytes, int]:
    """The path of a word and its flags."""
    memory = ctypes.create_string_buffer(word)
    call = functions.given()
    call["word"], call["folder"] = ctypes.addressof(memory), folder
    found = functions.run("run_word", call)
    assert found["read"], word
    assert found["same"], "the path in the scratch is the one that was put"
    return _path(found), int(found["flags"]) & (_TRUNCATED | _DETACHED)


def _by_letters(base: str, word: str) -> str:
    """What a word is below a folder, links not followed."""
    names = [] if word.startswith("/") else [name for name in base.split("/") if name]
    for name in word.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/" + "/".join(names)


@pytest.mark.parametrize("folder", ["/", "/proc", "/proc/self/fd", "/sys/fs/bpf", "/dev/pts", "/usr/bin"])
def test_a_folder_is_called_as_the_kernel_calls_it(functions: Functions, folder: str) -> None:
    """Across mounts, up to the root: as getcwd(2) has it."""
    if not os.path.isdir(folder):
        folder = "/etc"
    with _within(folder):
        assert _working(functions) == (os.getcwdb(), 0)


@given(names=st.lists(st.binary(min_size=1, max_size=255), min_size=1, max_size=6))
def test_names_are_bytes_of_any_kind(functions: Functions, tree: Path, names: list[bytes]) -> None:
    """Up to 255 of them in a name, UTF-8 or not, newlines too."""
    clean = [name.translate(None, b"/\0") for name in names]
    wanted = [name for name in clean if name not in (b"", b".", b"..")]
    path = b"/".join([os.fsencode(tree / "names"), *wanted])
    os.makedirs(path, exist_ok=True)
    with _within(os.fsdecode(path)):
        assert _working(functions) == (path, 0)


def _chain(top: Path, name: str, number: int) -> Iterator[int]:
    """Descriptors of folders one in another, each made as it is asked for: a path may be longer than a call takes."""
    at = os.open(top, os.O_PATH)
    for _ in range(number):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_PATH, dir_fd=at)
        os.close(at)
        at = below
        yield at
    os.close(at)


def test_a_path_of_more_bytes_than_there_is_room_for_is_cut_in_front(functions: Functions, tmp_path: Path) -> None:
    """Whole names from the end that fit PATH_BYTES, and the flag; the last one that fits is whole and has none."""
    name, base = "n" * 255, str(tmp_path.resolve())
    fit = (_PATH - 1 - len(base)) // 256
    for number, folder in enumerate(_chain(tmp_path, name, 20), 1):
        with _within(folder):
            path, flags = _working(functions)
        if number <= fit:
            assert (path, flags) == (os.fsencode(base + f"/{name}" * number), 0)
        elif 256 * number > _PATH:
            assert (path, flags) == (os.fsencode(f"/{name}" * 15), _TRUNCATED)


def test_a_path_of_more_names_than_are_walked_is_cut_and_counted(functions: Functions, tmp_path: Path) -> None:
    """PATH_DEPTH steps from the end; each path that has more is a failure that is counted."""
    depth = functions.constants("failure")["FAILURE_PATH_DEPTH"]
    above = len(Path(str(tmp_path.resolve())).parts) - 1
    for number, folder in enumerate(_chain(tmp_path, "d", 530), 1):
        if number not in (400, 530):
            continue
        before = functions.sum("failures", depth)
        with _within(folder):
            path, flags = _working(functions)
        cut = number > _DEPTH
        assert (flags, functions.sum("failures", depth) - before) == (_TRUNCATED if cut else 0, int(cut))
        assert path.count(b"/") == (_DEPTH if cut else number + above)


def test_a_folder_that_is_gone_keeps_its_name(functions: Functions, tree: Path) -> None:
    """Its dentry still says where it was; the kernel's own file systems add nothing."""
    gone = tree / "gone"
    gone.mkdir()
    with _within(gone):
        gone.rmdir()
        assert _working(functions)[0] == os.fsencode(gone)


#: Runs one test's function in a mount namespace of its own: nothing is mounted for others.
_APART = """
import os, subprocess, sys
from pathlib import Path
from tests.kernel.functions import test_word
from tests.kernel.functions.functions import Functions
with Functions("word") as functions:
    getattr(test_word, sys.argv[1])(functions, Path(sys.argv[2]))
"""


def _apart(check: Callable[[Functions, Path], None], folder: Path) -> None:
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-c",
        _APART,
        check.__name__,
        str(folder),
    ]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def mounted(functions: Functions, folder: Path) -> None:
    """A mount on a mount, one of a part of a file system, and one that is taken away while somebody is in it."""
    for word in ("above", "above/below", "part"):
        (folder / word).mkdir(exist_ok=True)
        if word != "part":
            subprocess.run(["mount", "-t", "tmpfs", "test", folder / word], check=True)
    (folder / "above/below/inner").mkdir()
    with _within(folder / "above/below/inner"):
        assert _working(functions) == (os.fsencode(folder / "above/below/inner"), 0)
        assert _laid(functions, b"../../x") == (os.fsencode(folder / "above/x"), 0)
    subprocess.run(["mount", "--bind", folder / "above/below/inner", folder / "part"], check=True)
    with _within(folder / "part"):
        assert _working(functions) == (os.fsencode(folder / "part"), 0)
        subprocess.run(["umount", "-l", folder / "part"], check=True)
        assert _working(functions)[1] == _DETACHED


def rooted(functions: Functions, folder: Path) -> None:
    """Words that begin with / are below the process's own root; its paths are those of the mount namespace all the same."""
    (folder / "root/etc").mkdir(parents=True)
    os.chroot(folder / "root")
    os.chdir("/etc")
    assert _working(functions) == (os.fsencode(folder / "root/etc"), 0)
    assert _laid(functions, b"/etc/shadow") == (os.fsencode(folder / "root/etc/shadow"), 0)
    assert _laid(functions, b"shadow") == (os.fsencode(folder / "root/etc/shadow"), 0)


@pytest.mark.parametrize("check", [mounted, rooted])
def test_mounts_and_other_roots(tmp_path: Path, check: Callable[[Functions, Path], None]) -> None:
    """In a mount namespace of the test's own."""
    _apart(check, tmp_path.resolve())


_PARTS = st.sampled_from((".", "..", "", "a", "...", "..a", ".b", "one", "two", "a" * 255)) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), max_size=6
)


@given(parts=st.lists(_PARTS, min_size=1, max_size=12), absolute=st.booleans(), slash=st.booleans())
def test_a_word_is_read_by_its_letters(
    functions: Functions, tree: Path, parts: list[str], absolute: bool, slash: bool
) -> None:
    """`.`, `..` and // are taken out, also those that lead above the folder; a / at the end says nothing."""
    word = "/" * absolute + "/".join(parts) + "/" * slash
    with _within(tree / "one/two"):
        expected = _by_letters(str(tree / "one/two"), word)
        assert _laid(functions, word.encode()) == (expected.encode(), 0)


def test_a_word_below_a_descriptor(functions: Functions, tree: Path) -> None:
    """The path begins at the folder of the descriptor, as in openat(2). A descriptor that is not open gives no path."""
    folder = os.open(tree / "one", os.O_PATH)
    assert _laid(functions, b"../x", folder) == (os.fsencode(tree / "x"), 0)
    assert _laid(functions, b"/x", folder) == (b"/x", 0)
    os.close(folder)
    memory = ctypes.create_string_buffer(b"x")
    call = functions.given()
    call["word"], call["folder"] = ctypes.addressof(memory), folder
    assert functions.run("run_word", call)["length"] == 0


def test_a_name_that_no_file_has_is_left_out_and_said(functions: Functions) -> None:
    """Of 256 bytes and more; one of 255 is a name."""
    assert _laid(functions, b"/a/" + b"x" * 255 + b"/b") == (b"/a/" + b"x" * 255 + b"/b", 0)
    assert _laid(functions, b"/a/" + b"x" * 256 + b"/b") == (b"/a/b", _TRUNCATED)


def test_a_word_that_is_longer_than_is_read_is_cut(functions: Functions) -> None:
    """The first 4,095 bytes of it, as the kernel itself refuses more."""
    found, flags = _laid(functions, b"/a" * 4000)
    assert flags == 0 and found == (b"/a" * 2048)[:4095].rstrip(b"/")


def test_a_word_that_cannot_be_read(functions: Functions) -> None:
    """An address of nobody's: it is not read, and nothing is made of it."""
    call = functions.given()
    call["word"], call["folder"] = 8, _WORKING
    assert not functions.run("run_word", call)["read"]
