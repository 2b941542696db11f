"""A skip must prove its right: what is asked for and missing is a failure."""

from __future__ import annotations

import pytest

from tests import require


def test_a_missing_program_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FIRSTHAND_REQUIRE a missing thing skips and says what it is."""
    monkeypatch.delenv("FIRSTHAND_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        require.programs("containerd", "no-such-program")


@pytest.mark.parametrize("wanted", ["all", "root,containerd"])
def test_what_is_required_fails(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    """Under `all`, or named, the same is a failure."""
    monkeypatch.setenv("FIRSTHAND_REQUIRE", wanted)
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require.programs("containerd", "no-such-program")


def test_what_is_there_passes() -> None:
    """A program that exists is no reason to skip."""
    require.programs("containerd", "sh")


def test_only_require_skips() -> None:
    """No other test file calls pytest's skips."""
    from pathlib import Path

    words = ("pytest.skip(", "mark.skip", "importorskip", "unittest.skip")
    here = Path(__file__).parents[1]
    guilty = [
        path.name
        for path in here.rglob("*.py")
        if path.name not in ("require.py", "test_require.py") and any(word in path.read_text() for word in words)
    ]
    assert guilty == []
