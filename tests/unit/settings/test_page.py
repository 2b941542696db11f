"""What is written from the declarations says what they say."""

from __future__ import annotations

import tomllib
from pathlib import Path

import jsonschema
import pytest

from firsthand.errors import UsageError
from firsthand.settings import DEFAULTS, Settings, page
from firsthand.settings.check import checked
from firsthand.settings.declare import declared


def test_the_default_file_is_the_declared_defaults() -> None:
    """Read and checked as a user's, it changes nothing; it names every setting."""
    text = page.default_file()
    assert text == DEFAULTS.read_text()
    assert checked(tomllib.loads(text), DEFAULTS) == Settings()
    assert all(f"\n{one.key} = " in text or f"\n# {one.key} = " in text for one in declared())
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_page_is_as_generated() -> None:
    assert page.page() == Path("docs/configuration.md").read_text()


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (DEFAULTS.read_text(), True),
        ('[retention]\nbytes = "2GB"\n[retention.namespaces]\nshop = {days = 3, bytes = "1kB"}\n', True),
        ('[redaction.scopes]\n"/a" = "hash"\n', True),
        ("poll_ms = 0\n", False),
        ("[folding]\nmost_ms = 10001\n", False),
        ("[network]\nnames = 1\n", False),
        ("[redaction]\nmod = 1\n", False),
        ("rings = 1\n", False),
    ],
)
def test_the_schema_takes_what_is_taken(text: str, taken: bool) -> None:
    """Law: a file that the schema refuses is refused by Firsthand as well."""
    raw = tomllib.loads(text)
    refused = [*jsonschema.Draft202012Validator(page.schema()).iter_errors(raw)]
    try:
        checked(raw, DEFAULTS)
    except UsageError:
        assert not taken and refused
    else:
        assert taken and not refused, refused
