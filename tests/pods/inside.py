"""An observer inside the pod that deploy/daemonset.yaml describes, on a containerd of the test's own."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from firsthand.history.store.connection import History
from firsthand.host import machine
from firsthand.probe import pins
from firsthand.probe.spec import UNNEEDED
from tests.growth import until_grown
from tests.kernel.observed import READY_WITHIN
from tests.pods.containerd import OwnContainerd
from tests.pods.kubelet import EXITED, Kubelet, KubeletPod, MadeContainer
from tests.pods.manifest import PodManifest

#: How often what a container printed is looked at, in seconds.
_LOOK = 0.02


def blind_spots(log: str) -> set[str]:
    """Words of what an observer said that it does not see: hooks by name, but for those that no answer needs."""
    told = {
        line.partition("blind spot: ")[2].removeprefix("hook ") for line in log.splitlines() if "blind spot" in line
    }
    return {one.split(" is missing")[0] for one in told} - UNNEEDED


class Ended:
    """A container's first process, by its number on the host: a condition to wait for."""

    def __init__(self, made: MadeContainer) -> None:
        self.pid = int(json.loads(made.status().info["info"])["pid"])
        try:
            self._handle = os.pidfd_open(self.pid) if self.pid else -1
        except ProcessLookupError:
            self._handle = -1

    def __call__(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        return self._handle < 0 or bool(select.select([self._handle], [], [], within)[0])

    def close(self) -> None:
        """Let go of it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class Node:
    """A node whose runtime has the image: makes observers as the kubelet would, with the history and the rest in `place`."""

    def __init__(self, daemon: OwnContainerd, kubelet: Kubelet, place: Path) -> None:
        self.daemon, self.kubelet, self.place = daemon, kubelet, place
        self.instance = f"test-{uuid.uuid4().hex[:12]}"
        self._attempt = 0

    @property
    def words(self) -> tuple[str, ...]:
        """What keeps an observer to the test's own cgroup, and apart from others."""
        return ("--instance", self.instance, "--scope", str(self.daemon.cgroup.path))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query on the history's views, read here on the host."""
        with History(self.place / "history").connection() as connection:
            result = connection.execute(query)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def wait_for(self, query: str) -> list[dict[str, Any]]:
        """The same, once there are any."""
        return until_grown(self.place / "history", lambda: self.rows(query), len, READY_WITHIN, lambda: None, query)

    def forget(self) -> None:
        """An empty history and no kernel side, as a new node has it."""
        shutil.rmtree(self.place / "history", ignore_errors=True)
        pins.remove(self.instance)

    def manifest(self) -> PodManifest:
        """The deployed one, with folders of the test's own in the place of the node's."""
        found = PodManifest()
        for name in ("history", "heads"):
            (self.place / name).mkdir(exist_ok=True)
            found.place(name, self.place / name)
        found.write_settings(self.place / "config")
        found.place("runtime", self.daemon.folder)
        return found

    def start(
        self, manifest: PodManifest, pod: KubeletPod, *words: str, environment: Mapping[str, str] | None = None
    ) -> MadeContainer:
        """One container of the pod, started; `words` behind the manifest's own."""
        self._attempt += 1
        config = manifest.config(pod, words, self._attempt, environment or {})
        return pod.make(config.metadata.name, config).start()

    def ready(self, made: MadeContainer) -> MadeContainer:
        """Until it says that it is; AssertionError with what it said where it ends instead."""
        ended = Ended(made)
        try:
            waited = 0.0
            while "ready" not in made.log.splitlines():
                assert not ended(_LOOK) or "ready" in made.log.splitlines(), f"it ended: {made.log}"
                waited += _LOOK
                assert waited < READY_WITHIN, f"never ready: {made.log}"
        finally:
            ended.close()
        return made


class ObserverInPod:
    """Stands in for the subprocess.Popen of an Observed: its `firsthand run` in a container, its history in the same place here."""

    def __init__(self, node: Node, pod: KubeletPod, command: Sequence[str]) -> None:
        words = list(command[command.index("run") + 1 :])
        words.remove("--quiet")  # the manifest's own
        folder = Path(words[words.index("--history") + 1]).parent
        manifest = node.manifest()
        manifest.place("history", folder)
        (mount,) = (one for one in manifest.container["volumeMounts"] if one["name"] == "history")
        mount["mountPath"] = str(folder)
        told = {name: value for name, value in os.environ.items() if name.startswith("FIRSTHAND_")}
        told.setdefault(machine.NODE, os.uname().nodename)  # as the same tests have it outside
        self._made = node.start(manifest, pod, *words, environment=told)
        self._ended = Ended(self._made)
        self.pid = self._ended.pid
        self.returncode: int | None = None
        self.stderr = Printed(self._made, self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """To the supervisor."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        return self.wait() if self._ended(0) else None

    def wait(self) -> int:
        """Its exit code, as the runtime says it."""
        if self.returncode is None:
            self._ended(READY_WITHIN)
            self.returncode = int(self._made.wait().status().status.exit_code)
        return self.returncode


class Printed:
    """The lines of a container's standard error, as a pipe would give them: waits for more until the container has ended."""

    def __init__(self, made: MadeContainer, ended: Ended) -> None:
        self._made, self._ended, self._given = made, ended, 0

    def __iter__(self) -> Iterator[str]:
        while True:
            over = self._made.status().status.state == EXITED
            lines = self._made.log.splitlines()
            for line in lines[self._given :]:
                self._given += 1
                yield f"{line}\n"
            if over:
                return
            self._ended(_LOOK)

    def readlines(self) -> list[str]:
        """Everything to the end."""
        return list(self)


def popen(node: Node, pod: KubeletPod) -> Any:
    """What Observed.popen is to be."""
    return staticmethod(lambda command, **_: ObserverInPod(node, pod, command))
