"""A settings file is taken whole or refused with the place of its fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand import settings
from firsthand.errors import UsageError
from firsthand.settings.declare import declared
from firsthand.settings.sections.network import Network
from firsthand.settings.sections.redaction import Redaction
from firsthand.settings.sections.retention import Limit, Limits
from firsthand.settings.sections.top import Top


def _load(tmp_path: Path, text: str) -> settings.Settings:
    (tmp_path / "c.toml").write_text(text)
    return settings.load({"FIRSTHAND_CONFIG": str(tmp_path / "c.toml")})


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    """Other settings keep their defaults, in sections as well."""
    found = _load(
        tmp_path,
        'ring_bytes = 4096\n[redaction]\nmode = "drop"\n[redaction.patterns]\nx = "y+"\n[redaction.programs]\nt = ["-p SECRET"]\n',
    )
    redaction = found[Redaction]
    assert redaction.programs == {"t": ("-p SECRET",)}
    assert (found[Top].ring_bytes, redaction.mode, redaction.patterns) == (4096, "drop", {"x": "y+"})
    assert found[Top].poll_ms == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rings = 1", "unknown setting rings; known are .*canary_seconds.*, redaction"),
        ("[redaction]\nmod = 'x'", "unknown setting redaction.mod; known are key, mode"),
        ("redaction = 3", "redaction: expected a section"),
        ("ring_bytes = 5000", "ring_bytes: expected 0, or a power of two"),
        ("urgent_bytes = 0", "urgent_bytes: expected a power of two of at least 4096, found 0"),
        ("poll_ms = '50'", "poll_ms: expected whole milliseconds of at least 1, found '50'"),
        ("poll_ms = 1.0", "poll_ms: expected whole milliseconds of at least 1, found 1.0"),
        ("poll_ms = true", "poll_ms: expected whole milliseconds of at least 1, found True"),
        ("fold = 0", "at least 1, found 0"),
        ("history = 3", "history: expected text, found 3"),
        ("ordinary_capabilities = 'chown'", "ordinary_capabilities: expected a list of texts, found 'chown'"),
        ("[folding]\nprocesses = 1", "folding.processes: expected true or false, found 1"),
        ("[folding]\nmost_ms = 10001", "folding.most_ms: expected whole milliseconds from 1 to 10000, found 10001"),
        ("[folding]\nevery_seconds = 0", "folding.every_seconds: expected whole seconds from 1 to 3600, found 0"),
        ("[network]\ncluster = ['10.0.0.1/8']", "network.cluster: expected a list of ranges.*host bits set"),
        ("[network]\nexpected = 'example.com'", "network.expected: expected a list"),
        ("[network]\nplaintext = ['lib']", 'network.plaintext: expected a list of absolute paths such as "/usr/lib'),
        ("[redaction]\nmode = 'hide'", "redaction.mode: expected one of mask, hash, drop, found 'hide'"),
        ("[redaction.scopes]\n'/a' = 'hide'", "found {'/a': 'hide'}"),
        ("[redaction.scopes]\na = 'hash'", "/cgroup/path"),
        (
            "[redaction.patterns]\na = 3",
            "redaction.patterns: expected a table of NAME = text, found {'a': 3} .*Expected `str`, got `int`",
        ),
        ("[redaction.programs]\ntool = '-p SECRET'", "redaction.programs: expected"),
        ("[runtimes]\nsockets = ['podman']", "runtimes.sockets: expected a list of sockets, \"/path\".*not 'podman'"),
        ("[integrity]\nheads = 'heads'", 'integrity.heads: expected an absolute path or "", found'),
        ("instance = ", "correct it"),
        ("[network]\nresolvers = 3", "expected a list of addresses or networks"),
        ("[network]\nresolvers = ['dns.example']", "network.resolvers: expected a list of addresses or networks"),
        ("[network]\nkeep_query = 1", "network.keep_query: expected true or false"),
        ("[retention]\ndays = 0", "retention.days: expected whole days of at least 1, found 0"),
        ("[retention]\nbytes = '20 XB'", "retention.bytes: expected bytes"),
        ("[retention]\nfree = -1", "retention.free: expected bytes"),
        ("[retention]\nnamespaces = 3", "retention.namespaces: expected NAMESPACE"),
        ("[retention.namespaces]\na = {hours = 3}", "retention.namespaces: expected NAMESPACE.*hours"),
        ("[retention.namespaces]\na = {bytes = 'x'}", "retention.namespaces: .*bytes: expected bytes.*found 'x'"),
        (
            "[retention]\nbytes = 5\n[retention.namespaces]\na = {bytes = 6}",
            "retention.namespaces: 6 bytes are given in all",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    """The message names the file, the key, what was expected and found."""
    with pytest.raises(UsageError, match=f"c.toml.*{message}"):
        _load(tmp_path, text)


@pytest.mark.parametrize("name", [one.name for one in declared()])
def test_every_setting_refuses_what_it_is_not(tmp_path: Path, name: str) -> None:
    """A date is no value of any setting: the message has the key, what is expected, and the date."""
    section, _, key = name.rpartition(".")
    with pytest.raises(UsageError, match=rf"c.toml: {name}: expected .+, found datetime.date"):
        _load(tmp_path, f"{f'[{section}]' if section else ''}\n{key} = 2026-01-01\n")


def test_sizes_have_units(tmp_path: Path) -> None:
    """Bytes are whole numbers or have a decimal or binary unit; a namespace has what it is given and no more."""
    text = "[retention]\nbytes = '1.5 GiB'\nfree = 7\n[retention.namespaces]\nshop = {bytes = '2kB'}\n'(host)' = {days = 3}\n"
    found = _load(tmp_path, text)[Limits]
    assert (found.days, found.bytes, found.free, found.protected_days) == (30, 3 << 29, 7, 365)
    assert found.namespaces == {"(host)": Limit(days=3), "shop": Limit(bytes=2000)}


def test_resolvers_are_addresses_and_networks(tmp_path: Path) -> None:
    """As networks, host bits cut; none: what this machine's files name is taken at the start."""
    text = '[network]\nresolvers = ["10.96.0.10", "169.254.20.10/16", "fd00::a"]\nkeep_query = true\n'
    found = _load(tmp_path, text)[Network]
    assert found.resolvers == ("10.96.0.10/32", "169.254.0.0/16", "fd00::a/128") and found.keep_query
    assert settings.load({"HOME": str(tmp_path)})[Network].resolvers == ()
