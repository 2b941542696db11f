"""An ordinary hour of a small cluster's machine, with everything in it that comes regularly or sends much and means no harm."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.scenes import Pod, Process, Scene

HOUR = 3600.0
API_SERVER = "10.96.0.1"


@dataclass
class Cluster:
    """Who is there. Numbers come from `chance`, so that the same hour is made twice."""

    scene: Scene
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    pods: dict[str, Pod] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scene = self.scene
        scene.node_address("192.168.7.2")
        for number, name in enumerate(("web", "api", "metrics", "logs", "operator", "backup")):
            pod = scene.pod(f"{name}-1", f"10.244.0.{number + 5}", 0, workload=f"shop/Deployment/{name}")
            self.pods[name] = pod
            self.processes[name] = scene.process(pod, f"/usr/bin/{name}", ["--serve"], 1.0)
        for name in ("kubelet", "chronyd"):
            self.processes[name] = scene.process(None, f"/usr/sbin/{name}", at=1.0)

    def every(self, begin: float, apart: float, jitter: float = 0.0, lasts: float = HOUR) -> list[float]:
        """Moments within an hour, so far apart, each interval off by up to `jitter` of it."""
        found, at = [], begin + self.chance.uniform(0, apart)
        while at < begin + lasts:
            found.append(at)
            at += apart * self.chance.uniform(1 - jitter, 1 + jitter)
        return found

    def by_chance(self, begin: float, apart: float) -> list[float]:
        """Moments that come by chance."""
        found, at = [], begin + self.chance.expovariate(1 / apart)
        while at < begin + HOUR:
            found.append(at)
            at += self.chance.expovariate(1 / apart)
        return found

    def hour(self, begin: float = 0.0) -> None:
        """All of an ordinary hour."""
        self.inside(begin)
        self.time(begin)
        self.outside(begin)
        self.uploads(begin)

    def inside(self, begin: float) -> None:
        """Metrics scrapes, probes and leases: regular as a clock, and within the cluster."""
        scene, process = self.scene, self.processes
        for name, pod in self.pods.items():
            for at in self.every(begin, 15.0):
                scene.connect(process["metrics"], str(pod.address), 9090, at, sent=200, received=4_000)
                scene.accept(process[name], "10.244.0.7", 9090, at, sent=4_000, received=200)
            for at in self.every(begin, 10.0):
                scene.connect(process["kubelet"], str(pod.address), 8080, at, sent=120, received=90, lasts=0.01)
                scene.accept(process[name], "192.168.7.2", 8080, at, sent=90, received=120, lasts=0.01)
        for at in self.every(begin, 2.0):
            scene.connect(process["operator"], API_SERVER, 443, at, sent=900, received=900)

    def time(self, begin: float) -> None:
        """NTP with four servers elsewhere, and lookups at a resolver elsewhere."""
        for number in range(4):
            for at in self.every(begin, 64.0, 0.01):
                self.scene.flow(self.processes["chronyd"], f"203.0.113.{number + 10}", 123, at)
        for at in self.every(begin, 30.0):
            self.scene.flow(self.processes["api"], "8.8.8.8", 53, at, sent=40, received=120)

    def outside(self, begin: float) -> None:
        """A log shipper's two long connections, a pool to a database elsewhere, calls that come by chance, guests that are checked on."""
        scene, process, chance = self.scene, self.processes, self.chance
        for half in (0, HOUR / 2):
            scene.connect(
                process["logs"],
                "198.51.100.20",
                443,
                begin + half + 1,
                lasts=HOUR / 2 - 5,
                sent=9_000_000,
                names=["logs.example.com"],
            )
        for at in self.every(begin, 60.0, 0.1):
            scene.connect(
                process["api"], "198.51.100.30", 5432, at, lasts=chance.uniform(200, 400), sent=chance.randrange(20_000, 90_000),
                received=300_000, names=["db.example.net"],
            )  # fmt: skip
        for at in self.by_chance(begin, 20.0):
            sent = chance.randrange(300, 5_000)
            scene.connect(
                process["web"], "198.51.100.40", 443, at, sent=sent, received=8_000, names=["pay.example.org"]
            )
        for at in self.every(begin, 5.0):
            scene.accept(process["web"], "203.0.113.200", 443, at, sent=100, received=80)

    def uploads(self, begin: float) -> None:
        """A backup, in four parts, each hour."""
        for part in range(4):
            sent = int(200_000_000 * self.chance.uniform(0.9, 1.1))
            at = begin + 300 + part * 40
            self.scene.connect(
                self.processes["backup"],
                "198.51.100.50",
                443,
                at,
                lasts=30.0,
                sent=sent,
                names=["backups.s3.example.com"],
            )
