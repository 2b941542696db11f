"""A setting is declared once, wherever its section stands, and its section travels whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from firsthand import settings
from firsthand.errors import UsageError
from firsthand.observe.options import ObserverOptions, decode, encode
from firsthand.settings import declare, page
from firsthand.settings.declare import Section, Settings, section, sections, setting
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.network import Network
from firsthand.settings.sections.retention import Limit, Limits
from firsthand.settings.sections.top import Top

_TOY = '''"""A subject of a test."""
from __future__ import annotations
from typing import Annotated
from firsthand.settings.declare import Section, section, setting

@section("toy", role="observer")
class Toy(Section, frozen=True):
    """Its settings."""
    most_ms: Annotated[int, setting("How long a toy lives.", "milliseconds", least=1, most=9, kernel=True)] = 3
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Section]]:
    """A section declared in a module of a package of its own, as a subject's is."""
    package = tmp_path / "toys"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "toy.py").write_text(_TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(declare, "PLACES", (*declare.PLACES, "toys"))
    sections.cache_clear()
    yield sections()["toy"]
    del declare._DECLARED[sections()["toy"]], sys.modules["toys.toy"], sys.modules["toys"]
    sections.cache_clear()


def test_a_section_that_a_subject_declares(toy: type[Section], tmp_path: Path) -> None:
    """One declaration: the file takes it within its bounds; default file, schema and the kernel side have it."""
    from firsthand.probe.options import _values

    file = tmp_path / "config.toml"
    file.write_text("[toy]\nmost_ms = 5\n")
    found = settings.load({"FIRSTHAND_CONFIG": str(file)})
    assert _values(found[toy]) == {"most_ms": 5}
    assert _values(Settings.parse(json.loads(json.dumps(found.builtins())))[toy]) == {"most_ms": 5}
    assert "[toy]\n# How long a toy lives.\nmost_ms = 3\n" in page.default_file()
    assert page.schema()["properties"]["toy"]["properties"]["most_ms"]["maximum"] == 9
    file.write_text("[toy]\nmost_ms = 10\n")
    with pytest.raises(UsageError, match=r"toy.most_ms: expected whole milliseconds from 1 to 9, found 10"):
        settings.load({"FIRSTHAND_CONFIG": str(file)})


def test_two_sections_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declare, "_DECLARED", dict(declare._DECLARED))
    sections.cache_clear()

    @section("network")
    class Again(Section, frozen=True):
        one: Annotated[bool, setting("One.")] = False

    try:
        with pytest.raises(ValueError, match="declares the section 'network'"):
            sections()
    finally:
        monkeypatch.undo()
        sections.cache_clear()


def test_a_role_is_given_its_own_settings() -> None:
    """Law: what concerns others changes nothing for it, so that it does not start again."""
    before = Settings()
    for changed, concerned in (
        (before.having(Network, cluster=("10.0.0.0/8",)), set()),
        (before.having(Network, names=False), {"observer"}),
        (before.having(Limits, days=3), {"keeper"}),
        (before.having(Top, fold=3), set()),
    ):
        roles = {"observer", "keeper", "follower", "reader"}
        assert {role for role in roles if changed.of(role) != before.of(role)} == concerned


def test_options_arrive_as_they_were_sent() -> None:
    """The observer's process decodes what the supervisor encoded; what is none is refused."""
    limits = Limits(namespaces={"shop": Limit(days=3)})
    given = Settings(Top(poll_ms=5), Folding(processes=True), Network(plaintext=("/a", "/b")), limits)
    options = ObserverOptions(history=".", scopes=("/x",), settings=given)
    assert decode(ObserverOptions, encode(options)) == options
    with pytest.raises(msgspec.ValidationError):
        decode(ObserverOptions, encode(options).replace('"poll_ms":5', '"poll_ms":"5"'))
