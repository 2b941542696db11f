"""Docs fail like code: every verb, option, question and setting is described."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from firsthand import settings
from firsthand.ask.questions import QUESTIONS
from firsthand.cli.main import VERBS
from firsthand.history.share import CAUSE
from firsthand.schema.own import CAUSES
from firsthand.source import GAPS, failure_names

DOCS = Path(__file__).parents[2] / "docs"


def _page(verb: str) -> str:
    return (DOCS / ("configuration.md" if verb == "completion" else f"{verb}.md")).read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_page_and_options(verb: str) -> None:
    """Each long option of a verb stands on its page."""
    command = importlib.import_module(f"firsthand.cli.{verb}").command
    page = _page(verb)
    assert f"firsthand {verb}" in page
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert f"`{option}`" in page or f"{option}" in page, f"{verb} {option}"


def test_every_question_is_described() -> None:
    """Each question has a row on the page of ask."""
    for name in QUESTIONS:
        assert f"| `{name}` |" in _page("ask")


def test_every_cause_of_a_loss_is_described() -> None:
    """Each cause has a row on its page, and the code gives no other."""
    page = (DOCS / "loss.md").read_text()
    for cause in CAUSES:
        assert f"| `{cause}` |" in page
    sources = "\n".join(path.read_text() for path in (DOCS.parent / "src/firsthand").rglob("*.py"))
    given = re.findall(r'\bLost\("(\w+)"|"cause": "(\w+)"', sources)
    assert {one or other for one, other in given} | set(GAPS) | {CAUSE} == {
        *CAUSES,
        "not_held",
    }  # not_held: export's gaps


def test_every_failure_that_the_kernel_counts_is_described() -> None:
    """By its name in the loss rows and in the measures."""
    page = (DOCS / "loss.md").read_text()
    for name in failure_names():
        assert name == "COUNT" or f"`{name.lower()}`" in page, name


def test_the_default_settings_are_shown_as_they_are() -> None:
    """The page of configuration holds the default file."""
    assert settings.DEFAULTS.read_text() in (DOCS / "configuration.md").read_text()


def test_the_readme_links_to_pages_that_exist() -> None:
    """No dead links on the first page."""
    readme = (DOCS.parent / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (DOCS.parent / target).exists(), target


def test_the_readme_names_each_page_once() -> None:
    """One list of the docs, without a page that stands there twice or not at all; `uninstall` is a part of `install`."""
    listed = re.findall(
        r"\[[a-z]+\]\(docs/([a-z]+)\.md\)", (DOCS.parent / "README.md").read_text().split("\nDocs: ")[1]
    )
    assert sorted(listed) == sorted(page.stem for page in DOCS.glob("*.md") if page.stem != "uninstall")
