"""What Docker and Podman tell of a container's root folder and users: nothing is taken that is told in part."""

from __future__ import annotations

from typing import Any

import pytest

from firsthand.identity.runtimes import engine
from firsthand.identity.runtimes.facts import ContainerFacts

MERGED = "/var/lib/docker/overlay2/abc/merged"


def _facts(driver: Any, **host: Any) -> ContainerFacts:
    facts = ContainerFacts("a" * 64)
    engine._root(facts, {"GraphDriver": driver, "HostConfig": host})
    return facts


def _mounted(**host: Any) -> ContainerFacts:
    return _facts({"Name": "overlay2", "Data": {"MergedDir": MERGED}}, **host)


@pytest.mark.parametrize("mode", ["", "host", None])
def test_users_have_the_machines_numbers(mode: str | None) -> None:
    """Without a user namespace of its own."""
    facts = _mounted(UsernsMode=mode)
    assert (facts.root, facts.ranges) == (MERGED, ())


def test_podman_tells_how_users_are_numbered(mode: str = "auto") -> None:
    """First id inside, first id on the machine, how many."""
    facts = _mounted(UsernsMode=mode, IDMappings={"UidMap": ["0:100000:1000", "1000:5:1"], "GidMap": []})
    assert (facts.root, facts.ranges) == (MERGED, ((0, 100000, 1000), (1000, 5, 1)))


@pytest.mark.parametrize(
    "host",
    [
        {"UsernsMode": "private"},
        {"UsernsMode": "container:abc", "IDMappings": {}},
        {"UsernsMode": "auto", "IDMappings": {"UidMap": ["0:100000:1000", "x"]}},
        {"UsernsMode": "", "IDMappings": {"UidMap": [7]}},
    ],
)
def test_numbers_that_are_not_told_give_no_names(host: dict[str, Any]) -> None:
    """A wrong name is worse than a number."""
    assert _mounted(**host).root is None


@pytest.mark.parametrize(
    "driver", [None, {}, {"Name": "vfs", "Data": None}, {"Data": {"MergedDir": "merged"}}, {"Data": {"MergedDir": 7}}]
)
def test_a_driver_that_mounts_nothing_has_no_root(driver: Any) -> None:
    """Nor one whose folder is no absolute path."""
    assert _facts(driver).root is None


@pytest.mark.parametrize(
    ("options", "remaps"),
    [(["name=seccomp,profile=default", "name=userns"], True), (["name=rootless"], True), (["name=cgroupns"], False)],
)
def test_docker_that_maps_all_users_is_known(monkeypatch: pytest.MonkeyPatch, options: list[str], remaps: bool) -> None:
    """It does not tell to which numbers."""
    answers = {"/version": {"Components": [{"Name": "Engine"}], "Version": "20"}, "/info": {"SecurityOptions": options}}
    one = engine.Engine("/run/docker.sock")
    monkeypatch.setattr(one, "_get", answers.get)
    assert one.connect() == "docker 20"
    assert one._remaps is remaps
