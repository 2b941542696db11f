"""What is left out of an ordinary run, and that nothing is left out of the nightly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import profile


@given(size=st.integers(0, 200), ci=st.integers(1, 60), word=st.sampled_from(sorted(profile.EXAMPLES)))
def test_a_part_is_spread_over_all(size: int, ci: int, word: str) -> None:
    """Law: `all` has every case; the others have as many as they ask for, different ones, in order, from the first to the last."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTHAND_PROFILE", word)
        chosen = profile.some(range(size), ci=ci, quick=2)
    wanted = {"all": size, "ci": min(ci, size), "quick": min(2, size)}[word]
    assert len(chosen) == len(set(chosen)) == wanted and chosen == sorted(chosen)
    if wanted > 1:
        assert (chosen[0], chosen[-1]) == (0, size - 1)


def test_the_profile_is_ci_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: unset and empty are the same; an unknown word is an error and not a smaller run."""
    monkeypatch.delenv("FIRSTHAND_PROFILE", raising=False)
    assert profile.name() == "ci"
    monkeypatch.setenv("FIRSTHAND_PROFILE", "")
    assert profile.name() == "ci"
    monkeypatch.setenv("FIRSTHAND_PROFILE", "everything")
    with pytest.raises(ValueError, match="quick, ci, all, not 'everything'"):
        profile.name()
