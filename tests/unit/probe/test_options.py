"""The kernel side has each section of the settings as the user gave it."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.probe import libbpf
from firsthand.probe.hierarchy import Hierarchy
from firsthand.probe.options import LoadOptions
from firsthand.probe.programs import _SETTINGS, _settings_of
from firsthand.schema.layout import installed, objects
from firsthand.settings import Settings
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.network import Network
from firsthand.settings.sections.redaction import Redaction
from firsthand.settings.sections.top import Top


def _options(*given: object) -> LoadOptions:
    return LoadOptions(installed(), Hierarchy(0, "", Path("/nowhere")), told=Settings(*given))  # type: ignore[arg-type]


def _maps(path: Path) -> set[str]:
    handle = libbpf.pointer("bpf_object__open_file", str(path).encode(), None)
    try:
        names = {libbpf.library().bpf_map__name(one).decode() for one in libbpf.each("bpf_object__next_map", handle)}
    finally:
        libbpf.library().bpf_object__close(handle)
    given = {name.removeprefix(_SETTINGS) for name in names if name.startswith(_SETTINGS)}
    return {name for name in given if _settings_of(path, name)}  # the compiler's own, of strings, have no struct


@pytest.mark.parametrize("path", objects(), ids=lambda path: path.name)
def test_every_object_has_the_declared_settings(path: Path) -> None:
    """Law: the members of each .rodata.NAME of an object are the settings that section NAME declares for the kernel side."""
    given = _options().settings
    for name in _maps(path):
        assert {*_settings_of(path, name)} == {*given[name]}, name


def test_every_declared_setting_is_in_an_object() -> None:
    """One that no object has would be given to nobody."""
    assert {*_options().settings} == {name for path in objects() for name in _maps(path)}


def test_values_keep_their_units() -> None:
    """Numbers as in the file; a switch is 0 or 1; a list is 1 where anything is in it."""
    found = _options(Folding(True, False, 250, 7), Network(plaintext=("/lib/a",), flow_idle_seconds=9)).settings
    assert found["folding"] == {"processes": 1, "connections": 0, "most_ms": 250, "every_seconds": 7}
    assert found["network"] == {"names": 1, "requests": 1, "plaintext": 1, "flow_idle_seconds": 9}


def test_what_the_kernel_side_has_makes_another_build() -> None:
    """Other values there: programs are loaded again; what only user space has changes nothing."""
    plain = _options().build
    assert _options(Top(poll_ms=5), Network(keep_query=True), Redaction(mode="hash")).build == plain
    assert len({plain, _options(Folding(most_ms=5)).build, _options(Redaction(mode="drop")).build}) == 3
    assert _options(Folding(True, True)).unfolded.build == plain
