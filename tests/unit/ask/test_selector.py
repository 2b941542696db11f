"""Label selectors: kubectl's words, and a message for everything else."""

from __future__ import annotations

import pytest

from firsthand.ask.selector import parse
from firsthand.errors import UsageError


@pytest.mark.parametrize(
    ("text", "labels", "takes"),
    [
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "web"}, True),
        ("app = web", {"app": "api"}, False),
        ("app!=web", {"app": "api"}, True),
        ("app!=web", {}, True),
        ("app", {"app": ""}, True),
        ("app", {}, False),
        ("!app", {}, True),
        ("!app", {"app": "x"}, False),
        ("app in (web, api)", {"app": "api"}, True),
        ("app notin (web,api)", {"app": "db"}, True),
        ("app notin (web)", {}, True),
        ("app=web,tier in (a,b),!old", {"app": "web", "tier": "b"}, True),
        ("app=web,tier in (a,b),!old", {"app": "web", "tier": "b", "old": ""}, False),
        ("example.com/part-of=x", {"example.com/part-of": "x"}, True),
        ("app=", {"app": ""}, True),
    ],
)
def test_takes(text: str, labels: dict[str, str], takes: bool) -> None:
    """As apimachinery's selectors do; a key that is missing is not equal."""
    assert all(one.takes(labels) for one in parse(text)) is takes


@pytest.mark.parametrize("text", ["", "app=web,", "app in web", "a b", "=x", "app>3", "app in (a"])
def test_wrong_words(text: str) -> None:
    """The part that is wrong is named."""
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse(text)
