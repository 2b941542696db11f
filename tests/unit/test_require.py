"""A skip must prove its right: what is asked for and missing is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import require


def test_a_missing_program_skips_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without FIRSTHAND_REQUIRE a missing thing skips, and prints what it is."""
    monkeypatch.delenv("FIRSTHAND_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require.programs("containerd", "no-such-program")
    assert capsys.readouterr().out == "require.containerd: not installed: no-such-program\n"


@pytest.mark.parametrize("wanted", ["all", "root,containerd", "root, containerd"])
def test_what_is_required_fails(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """Under `all`, or named, the same is a failure."""
    monkeypatch.setenv("FIRSTHAND_REQUIRE", wanted)
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require.programs("containerd", "no-such-program")


@pytest.mark.parametrize("wanted", ["", "root,btf"])
def test_what_others_require_skips(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """A word asks for its own thing only."""
    monkeypatch.setenv("FIRSTHAND_REQUIRE", wanted)
    with pytest.raises(pytest.skip.Exception):
        require.programs("qemu", "no-such-program")


@pytest.mark.parametrize(
    ("word", "needs"), [("root", require.root), ("bpf", require.bpf), ("containerd", require.containerd)]
)
def test_a_required_whole_requires_its_parts(
    monkeypatch: pytest.MonkeyPatch, word: str, needs: Callable[[], None]
) -> None:
    """Who asks for bpf or containerd and is not root is told so by a failure, not by a skip for want of root."""
    monkeypatch.setenv("FIRSTHAND_REQUIRE", word)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(pytest.fail.Exception, match="not root"):
        needs()


def test_no_btf_is_no_bpf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root without the kernel's types cannot load programs."""
    monkeypatch.delenv("FIRSTHAND_REQUIRE", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(require, "_BTF", tmp_path / "vmlinux")
    with pytest.raises(pytest.skip.Exception, match="vmlinux"):
        require.bpf()


def test_a_busybox_that_needs_a_loader_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An image holds no libc: a busybox that names an interpreter, as /bin/sh here does, cannot run in it."""
    for name in ("containerd", "ctr", "runc", "busybox"):
        shutil.copy("/bin/sh", tmp_path / name)
    monkeypatch.setattr(require, "_PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("FIRSTHAND_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="not static"):
        require.containerd()


def test_missing_kernels_give_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernel packages that could not be had are a failure in the words of who looked for them; found ones are nothing."""
    monkeypatch.setenv("FIRSTHAND_REQUIRE", "kernels")
    require.kernels(True, "")
    with pytest.raises(pytest.fail.Exception, match="no mirror"):
        require.kernels(False, "no mirror")


def test_shared_is_never_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is no part of the project skips even where everything is required; where it is, its path is given."""
    monkeypatch.setenv("FIRSTHAND_REQUIRE", "all")
    monkeypatch.setattr(require, "_SHARED", tmp_path)
    assert require.shared() == tmp_path
    monkeypatch.setattr(require, "_SHARED", tmp_path / "absent")
    with pytest.raises(pytest.skip.Exception, match="absent"):
        require.shared()


def test_what_is_there_passes() -> None:
    """A program that exists is no reason to skip."""
    require.programs("containerd", "sh")


def test_only_require_skips() -> None:
    """No other test file calls pytest's skips."""
    words = ("pytest.skip(", "mark.skip", "importorskip", "unittest.skip")
    here = Path(__file__).parents[1]
    guilty = [
        path.name
        for path in here.rglob("*.py")
        if path.name not in ("require.py", "test_require.py") and any(word in path.read_text() for word in words)
    ]
    assert guilty == []
