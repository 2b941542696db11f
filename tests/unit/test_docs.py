"""Docs fail like code: every verb, option, question and setting is described."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from docs import samples
from docs import words as vocabulary
from firsthand.ask.registry import QUESTIONS
from firsthand.cli.main import VERBS
from firsthand.history.store.share import CAUSE
from firsthand.observe.source import GAPS, failure_names
from firsthand.subjects.record import CAUSES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


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
    given = re.findall(r'\b(?:Lost|Changed)\("(\w+)"|"cause": "(\w+)"', sources)
    assert {one or other for one, other in given} | set(GAPS) | {CAUSE} == {
        *CAUSES,
        "not_held",
    }  # not_held: export's gaps


def test_every_failure_that_the_kernel_counts_is_described() -> None:
    """By its name in the loss rows and in the measures."""
    page = (DOCS / "loss.md").read_text()
    for name in failure_names():
        assert name == "COUNT" or f"`{name.lower()}`" in page, name


def _anchors(page: Path) -> set[str]:
    """The names by which a page's headings can be linked to, as forges and the site make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    """Each relative link of each page leads to a file, and its anchor to a heading of that file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    """A law or a claim that names a test is checked by one."""
    for name in re.findall(r"\btests/[\w/]+\.(?:py|toml|zip)", page.read_text()):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_the_readme_names_each_page_once() -> None:
    """One list of the docs, which is the site's navigation, without a page that is there twice or not at all."""
    listed = re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "README.md").read_text().split("\n## Docs\n")[1])
    pages = {page for page in PAGES if page.name != "README.md" and page.parent.name != "decisions"}
    assert sorted(listed) == sorted([*(str(page.relative_to(ROOT)) for page in pages), "docs/decisions/README.md"])


@pytest.mark.parametrize("page", samples.PAGES, ids=lambda page: page.stem)
def test_the_samples_are_what_the_commands_print(page: Path, tmp_path: Path) -> None:
    """About the kept history, in 80 columns. `python -m docs.samples` writes them again."""
    for words, shown, printed in samples.printed(page.read_text(), tmp_path):
        assert samples.masked(shown) == samples.masked(printed), words


def test_most_pages_of_tasks_have_samples() -> None:
    """So that the comparison cannot pass for want of samples."""
    without = {page.stem for page in samples.PAGES if not samples.SAMPLE.search(page.read_text())}
    assert without == {"readers", "upgrade"}  # of users, of installed versions


def test_lines_are_wrapped() -> None:
    """At 120 columns, where a line is no table, no code and not one link."""
    chosen = vocabulary.rules()
    for page in {*PAGES} - vocabulary.files([*chosen.generated, *chosen.waiting]):
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
        for line in text.splitlines():
            assert len(line) <= 120 or line.startswith(("|", "    ")) or " " not in line.strip(), (page, line)


def test_the_changelog_is_grouped() -> None:
    """Each entry once, of one line's sentence, below Added, Changed or Fixed: a merge by union can bring entries back that were moved."""
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^### (.+)$", text, re.M)
    assert headings == ["Added", "Changed", "Fixed"]
    entries = re.findall(r"^\* .*(?:\n  .*)*", text, re.M)
    assert len(entries) == len(set(entries))
    assert text.index("\n* ") > text.index("\n### Added\n"), "an entry is in no group"


@pytest.fixture(scope="session")
def on() -> dict[str, bool]:
    """The checks of the word list, registered once."""
    return vocabulary.register(vocabulary.rules())


def test_the_word_list_finds_prose_and_nothing_else(on: dict[str, bool]) -> None:
    """Over line breaks, at the file's line and column; not in code, links or blocks, and in Python only in docstrings and comments."""
    page = "# It\n\nThe keeper is told\nat once, and lets\ngo of `told` [it](told.md).\n\n    told\n\n```\ntold\n```\n"
    assert [one.split(" ")[0] for one in vocabulary.findings("page.md", page, on)] == ["page.md:3:15:", "page.md:4:14:"]
    module = '"""It tells."""\n\ntold = "told"  # it says\n\n\ndef say() -> None:\n    """Nothing.\n\n    It tells.\n    """\n'
    assert [one.split(" ")[0] for one in vocabulary.findings("one.py", module, on)] == [
        "one.py:1:7:",
        "one.py:3:21:",
        "one.py:9:8:",
    ]
