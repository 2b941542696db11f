"""Containers by Docker Engine and by Podman, on daemons of the test's own: names, privilege and ends by the same interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Request, answer
from firsthand.history.store.connection import History
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed
from tests.pods.engines import IMAGE, Docker, OwnEngine, Podman

pytestmark = pytest.mark.xdist_group("runtimes")

LABELS = {"com.docker.compose.project": "shop", "com.docker.compose.service": "db", "tier": "back\x1b[2J"}


class EnginesScene:
    """Some containers, and the record of them."""

    def __init__(self, engine: OwnEngine, history: Path) -> None:
        self.early = engine.run("early", "/bin/sleep", "600")
        self.observed = Observed(history, [engine.cgroup.path], "--runtime", f"{engine.kind}:{engine.socket}")
        with self.observed:
            self.plain = engine.run("plain", "/bin/sleep", "601", labels=LABELS, user="4321")
            self.admin = engine.run(
                "admin", "/bin/sleep", "602", CapAdd=["NET_ADMIN"], PidMode="host", Binds=["/var/tmp:/host:ro"]
            )
            self.short = engine.run("short", "/bin/sleep", "0.05")
            engine.wait(self.short)
            engine.remove(self.short)
            self.observed.wait(f"SELECT 1 FROM container WHERE event = 'gone' AND container = '{self.short}'")
            self.observed.wait(
                f"SELECT 1 FROM container WHERE users = ['0=root', '4321=inside'] AND container = '{self.plain}'"
            )

    def ask(self, *words: str) -> list[dict[str, Any]]:
        """The rows of an answer, which must be complete."""
        command = [sys.executable, "-m", "firsthand", "ask", *words, "--json", "--history", str(self.observed.history)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert found["completeness"]["complete"], found["completeness"]["reasons"]
        return list(found["rows"])


@pytest.fixture(scope="module", params=[Docker, Podman], ids=lambda kind: kind.kind)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnginesScene]:
    """Played once for each engine."""
    require.engine(request.param.kind)
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, request.param(cgroup, folder) as engine:
        yield EnginesScene(engine, tmp_path_factory.mktemp(engine.kind) / "history")


def test_every_row_of_a_container_is_named(scene: EnginesScene) -> None:
    """By the engine's name for it, with its image, from the first process on, and one that lived for 50 ms."""
    truth = {scene.early: "early", scene.plain: "plain", scene.admin: "admin", scene.short: "short"}
    rows = scene.observed.rows(
        "SELECT DISTINCT container, container_name, image FROM process WHERE container IS NOT NULL"
    )
    assert {row["container"]: row["container_name"] for row in rows} == truth
    assert {row["image"] for row in rows} == {IMAGE}
    assert scene.ask("unknown") == []


def test_containers_over_time(scene: EnginesScene) -> None:
    """State, end and exit code; the workload by compose's labels; labels harmless and narrowing."""
    rows = {row["container_name"]: row for row in scene.ask("containers")}
    assert set(rows) == {"early", "plain", "admin", "short"}
    short = rows["short"]
    assert (short["state"], short["exit_code"], short["until"] is not None) == ("exited", 0, True)
    assert rows["plain"]["workload"] == "shop/Service/db" and rows["early"]["workload"] is None
    assert {row["state"] for name, row in rows.items() if name != "short"} == {"running"}
    assert all(row["image_digest"].startswith("sha256:") for row in rows.values())
    assert [row["container_name"] for row in scene.ask("containers", "-l", "com.docker.compose.service=db")] == [
        "plain"
    ]


def test_privileged_names_exactly_the_privileged(scene: EnginesScene) -> None:
    """Declared beside held; the host's pid namespace and mounts as declared."""
    (row,) = scene.ask("privileged")
    assert row["names"] == ["admin"] and row["container"] == scene.admin and row["beyond"] == ["net_admin"]
    assert row["declared"] == row["granted"] and row["privileged"] is False and not row["differs"]
    assert row["host"] == ["pid"] and row["host_mounts"] == ["/var/tmp:/host:ro"]


def test_a_user_by_its_name(scene: EnginesScene) -> None:
    """As the container's own /etc/passwd says it, below the root folder that the engine mounts."""
    found = answer(History(scene.observed.history), Request("processes", ("user=inside", "event=exec")))
    args = [row["args"] for row in found.found.rows if "RUNTIME" not in (row["flag_names"] or "")]
    assert args == [["/bin/sleep", "601"]]
    assert any("their containers' own /etc/passwd" in reason for reason in found.completeness.reasons)


def test_podmans_pods(tmp_path: Path) -> None:
    """Podman has pods of its own: a container in one has its name, and no namespace."""
    require.engine("podman")
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, Podman(cgroup, folder) as podman:
        assert isinstance(podman, Podman)
        parent = f"/{cgroup.name}/podman"
        words = ["pod", "create", "--infra=false", "--name", "shop"]
        subprocess.run(podman.words(*words), check=True, capture_output=True)
        observed = Observed(tmp_path / "history", [cgroup.path], "--runtime", f"podman:{podman.socket}")
        with observed:
            run = [
                "run",
                "-d",
                "--pod",
                "shop",
                "--network",
                "none",
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ]
            command = podman.words(*run, "--cgroup-parent", parent, "--name", "db", IMAGE, "/bin/sleep", "600")
            identity = podman.cgroup.run(
                command, stdout=subprocess.PIPE, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)}
            )
            assert identity.stdout is not None
            made = identity.stdout.read().decode().strip()
            podman.made.append(made)
            assert identity.wait() == 0
        rows = observed.rows(
            "SELECT DISTINCT container, pod, namespace, container_name FROM process WHERE container IS NOT NULL"
        )
        assert rows == [{"container": made, "pod": "shop", "namespace": None, "container_name": "db"}]
        podman.remove(made)
