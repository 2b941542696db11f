"""A settings file is taken whole or refused with the place of its fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand import settings
from firsthand.errors import UsageError


def _load(tmp_path: Path, text: str) -> settings.Settings:
    (tmp_path / "c.toml").write_text(text)
    return settings.load({"FIRSTHAND_CONFIG": str(tmp_path / "c.toml")})


def test_defaults_hold_without_a_file(tmp_path: Path) -> None:
    """No file: the commented defaults."""
    found = settings.load({"HOME": str(tmp_path)})
    assert found.redaction_mode == "mask" and found.environment_allow == () and found.ring_bytes >= 8 << 20


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    """Other settings keep their defaults, in sections as well."""
    found = _load(
        tmp_path,
        'ring_bytes = 4096\n[redaction]\nmode = "drop"\n[redaction.patterns]\nx = "y+"\n[redaction.programs]\nt = ["-p SECRET"]\n',
    )
    assert found.redaction_programs == (("t", ("-p SECRET",)),)
    assert (found.ring_bytes, found.redaction_mode, found.redaction_patterns) == (4096, "drop", (("x", "y+"),))
    assert found.poll_ms == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rings = 1", "unknown setting rings"),
        ("[redaction]\nmod = 'x'", "unknown setting redaction.mod"),
        ("ring_bytes = 5000", "power of two"),
        ("poll_ms = '50'", "poll_ms must be int, found str"),
        ("fold = 0", "at least 1"),
        ("[folding]\nprocesses = 1", "folding.processes must be true or false, found 1"),
        ("[folding]\nmost_ms = 10001", "folding.most_ms: expected a whole number from 1 to 10000, found 10001"),
        ("[folding]\nevery_seconds = 0", "folding.every_seconds: expected a whole number from 1 to 3600, found 0"),
        ("[network]\ncluster = ['10.0.0.1/8']", "network.cluster: expected a range"),
        ("[network]\nexpected = 'example.com'", "network.expected: expected a list"),
        ("[redaction]\nmode = 'hide'", "mask, hash, drop"),
        ("[redaction.scopes]\n'/a' = 'hide'", "found '/a' = 'hide'"),
        ("[redaction.scopes]\na = 'hash'", "/cgroup/path"),
        ("instance = ", "c.toml"),
        ("[network]\nresolvers = 3", "expected a list of addresses or networks"),
        ("[network]\nresolvers = ['dns.example']", "network.resolvers: expected addresses or networks"),
        ("[network]\nkeep_query = 1", "network.keep_query: expected true or false"),
        ("[retention]\ndays = 0", "whole days of at least 1, found 0"),
        ("[retention]\nbytes = '20 XB'", "retention.bytes: expected bytes"),
        ("[retention]\nfree = -1", "retention.free: expected bytes"),
        ("[retention]\nnamespaces = 3", "retention.namespaces"),
        ("[retention.namespaces]\na = {hours = 3}", "retention.namespaces.a"),
        ("[retention]\nbytes = 5\n[retention.namespaces]\na = {bytes = 6}", "6 bytes are given in all"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, the key, what was expected and found."""
    with pytest.raises(UsageError, match=message):
        _load(tmp_path, text)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """FIRSTHAND_CONFIG that names nothing is an error and not ignored."""
    with pytest.raises(UsageError, match="no such file"):
        settings.load({"FIRSTHAND_CONFIG": str(tmp_path / "none")})


def test_sizes_have_units(tmp_path: Path) -> None:
    """Bytes are whole numbers or have a decimal or binary unit; a namespace has what it is given and no more."""
    text = "[retention]\nbytes = '1.5 GiB'\nfree = 7\n[retention.namespaces]\nshop = {bytes = '2kB'}\n'(host)' = {days = 3}\n"
    found = _load(tmp_path, text).retention
    assert (found.days, found.bytes, found.free, found.protected_days) == (30, 3 << 29, 7, 365)
    assert found.namespaces == (("(host)", settings.Limit(days=3)), ("shop", settings.Limit(bytes=2000)))


def test_resolvers_are_addresses_and_networks(tmp_path: Path) -> None:
    """As networks, host bits cut; none: what this machine's files name is taken at the start."""
    found = _load(
        tmp_path, '[network]\nresolvers = ["10.96.0.10", "169.254.20.10/16", "fd00::a"]\nkeep_query = true\n'
    ).network
    assert found.resolvers == ("10.96.0.10/32", "169.254.0.0/16", "fd00::a/128") and found.keep_query
    assert settings.load({"HOME": str(tmp_path)}).network.resolvers == ()


@pytest.mark.parametrize(
    ("processors", "gibibytes", "mebibytes"),
    [(1, 1, 8), (2, 24, 8), (4, 16, 16), (6, 16, 16), (8, 8, 16), (16, 64, 64), (128, 512, 64)],
)
def test_the_ring_is_sized_by_the_machine(processors: int, gibibytes: int, mebibytes: int) -> None:
    """Law: a power of two that grows with processors, within a share of memory, and within bounds."""
    assert settings.ring_bytes(processors, gibibytes << 30) == mebibytes << 20


def test_a_wrong_file_stops_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who must go on has the defaults, and the history's columns are computed by them; who loads is refused."""
    from firsthand.history import connection

    wrong = tmp_path / "config.toml"
    wrong.write_text('ring_bytes = "much"\n')
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(wrong))
    with pytest.raises(UsageError, match="ring_bytes must be int"):
        settings.load()
    assert settings.usable() == settings.load({"HOME": "/nonexistent"})
    assert "marks" in connection.computed("process")
