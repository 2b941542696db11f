"""ask/questions/credentials.py: who holds, read and used credentials, and what is left out by --except."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask import credentials
from firsthand.ask.answering import Answer, Request, answer
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from firsthand.settings import watchlist
from tests.scenes import Scene

DAY = 86_400.0
FLUENTD = "logging/DaemonSet/fluentd"
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
_KEYS = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PATH"]


def _scene() -> Scene:
    """Fluentd uses S3, and so does a job; a pod of the name fluentd holds keys and uses none; a shop asks for a token."""
    scene = Scene()
    scene.observed(-1, DAY)
    labelled: dict[str, Any] = {
        "workload_source": "controller-revision-hash",
        "image": "fluentd:1",
    }
    fluentd = scene.pod(
        "fluentd-x7k2p", "10.244.0.7", namespace="logging", workload=FLUENTD, image_digest=DIGEST, **labelled
    )
    false = scene.pod("fluentd", "10.244.0.8", namespace="evil", workload="evil/Pod/fluentd")
    job = scene.pod("job-1", "10.244.0.9", workload="shop/Job/job", image_digest=OTHER)
    shop = scene.pod("web-1", "10.244.0.10", workload="shop/Deployment/web")
    name = "bucket.s3.eu-west-1.amazonaws.com"
    scene.connect(scene.process(fluentd, "/usr/bin/ruby", [], 10, env_names=_KEYS), "52.218.0.1", 443, 11, names=[name])
    uploader = scene.process(job, "/usr/bin/aws", [], 20, env_names=["PATH"])
    cookie = scene.connect(uploader, "52.218.0.2", 443, 21)
    scene.request(uploader, cookie, "52.218.0.2", 443, 21.1, sni=name, protocol="tls")
    scene.connect(scene.process(shop, "/usr/bin/curl", [], 30), "169.254.169.254", 80, 31)
    scene.connect(
        scene.process(false, "/usr/bin/curl", [], 40, env_names=_KEYS), "203.0.113.9", 443, 41, names=["example.com"]
    )
    return scene


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene above."""
    return _scene().write(tmp_path_factory.mktemp("credentials") / "h")


def _asked(history: Path, *words: str, without: tuple[str, ...] = (), since: float | None = None) -> Answer:
    scene = Scene()
    window = (None, None) if since is None else (scene.at(since), scene.at(DAY))
    return answer(History(history), Request("credentials", words, *window, without=without), scene.at(DAY))


def _graded(found: Answer) -> dict[str, str]:
    return {row["who"]: row["grade"] for row in found.found.rows}


def test_who_used_read_and_holds_them(history: Path) -> None:
    """Law: by name or by the ClientHello used, by the metadata service read, by the name of a variable alone held."""
    found = _asked(history, "s3")
    assert _graded(found) == {
        "shop/Job/job": "used",
        FLUENTD: "used",
        "shop/Deployment/web": "read",
        "evil/Pod/fluentd": "held",
    }
    said = "Yes: 2 workloads used s3 credentials, 1 read them, 1 only hold them"
    assert found.sentence == f"{said}; who opened their files is known of watched ones alone"
    job = found.found.rows[1] if found.found.rows[1]["who"] == "shop/Job/job" else found.found.rows[0]
    assert job["evidence"] == ["connected to bucket.s3.eu-west-1.amazonaws.com"] and job["binaries"] == ["/usr/bin/aws"]


def test_other_than_one(history: Path) -> None:
    """Law: a workload is left out by its name, whatever its pod is called; a pod that is only called so is not."""
    found = _asked(history, "s3", without=(FLUENTD.lower(),))
    assert FLUENTD not in _graded(found) and "evil/Pod/fluentd" in _graded(found)
    assert found.sentence.endswith("; 1 row left out (--except)")
    both = _asked(history, "s3", without=(FLUENTD, f"job@{OTHER}"))
    assert [row["grade"] for row in both.found.rows] == ["read", "held"]


def test_labels_alone_prove_no_other(history: Path, tmp_path: Path) -> None:
    """Law: "none other" is not proven where only labels say that it was Fluentd; by its image's digest it is."""
    scene = _scene()
    scene.rows["connection"] = [row for row in scene.rows["connection"] if row.get("names")]
    scene.rows["request"] = []
    path = scene.write(tmp_path / "h")
    label = f"{FLUENTD} is known by labels alone, which whoever makes pods there can set: leave it out by IMAGE@sha256:DIGEST"
    named = _asked(path, "s3", without=(FLUENTD,))
    assert named.sentence.startswith("No: 0 workloads used") and label in named.completeness.reasons
    by_digest = _asked(path, "s3", without=(f"fluentd@{DIGEST}",))
    assert by_digest.sentence.startswith("No: 0 workloads used") and by_digest.completeness.complete
    assert _graded(by_digest) == {"evil/Pod/fluentd": "held"}


def test_connections_without_a_name_may_be_such(tmp_path: Path) -> None:
    """Law: what went out of the cluster and has no name is a reason, not a "no"."""
    scene = Scene()
    scene.observed(-1, DAY)
    scene.connect(scene.process(scene.pod("web", "10.244.0.7"), "/bin/x", [], 1), "52.218.0.1", 443, 2)
    found = _asked(scene.write(tmp_path / "h"), "s3")
    assert found.found.total == 0 and not found.completeness.complete
    assert any("out of the cluster has no name" in reason for reason in found.completeness.reasons)


@pytest.mark.parametrize(
    ("table", "row"), [("connection", {"names_cut": True}), ("request", {"marks": "CUT", "event": "tls"})]
)
def test_names_that_were_not_read_may_be_such(tmp_path: Path, table: str, row: dict[str, Any]) -> None:
    """Law: more names than a row has room for, and a head that was not read as far as its name, are reasons."""
    scene = Scene()
    scene.observed(-1, DAY)
    process = scene.process(None, "/bin/x", [], 1)
    scene.connect(process, "10.0.0.9", 443, 2, names=["db"])
    row = {name: value for name, value in scene.rows["connection"][0].items() if table == "connection"} | row
    own = {"seq", "ring", "cpu", "time", "ktime", "node", "boot"}
    scene.add(table, 3, **{name: value for name, value in row.items() if name not in own})
    found = _asked(scene.write(tmp_path / "h"), "s3")
    assert found.found.total == 0 and any("may be among them" in why for why in found.completeness.reasons)


@pytest.mark.parametrize(("lasts", "total"), [(None, 1), (60.0, 0)])
def test_a_connection_that_is_open_throughout_the_window(tmp_path: Path, lasts: float | None, total: int) -> None:
    """Law: it is a use; one that ended before is not."""
    scene = Scene()
    scene.observed(-1, DAY)
    scene.connect(scene.process(None, "/bin/x", [], 1), "52.218.0.1", 443, 2, lasts=lasts, names=["b.s3.amazonaws.com"])
    assert _asked(scene.write(tmp_path / "h"), "s3", since=3600).found.total == total


def test_a_refused_connection_is_no_use(tmp_path: Path) -> None:
    """Law: nothing was used where nobody answered; the other side's connections are not this one's."""
    scene = Scene()
    scene.observed(-1, DAY)
    process = scene.process(None, "/bin/x", [], 1)
    scene.connect(process, "52.218.0.1", 443, 2, lasts=None, outcome="refused", names=["b.s3.amazonaws.com"])
    scene.accept(process, "52.218.0.1", 40_000, 3)
    assert _asked(scene.write(tmp_path / "h"), "s3").found.total == 0


@pytest.mark.parametrize("watched", [["/etc/"], ["/etc/ssh/"]])
def test_files_that_were_opened(tmp_path: Path, watched: list[str]) -> None:
    """Law: who opened a watched file of theirs read them, a refused try did not; "none" needs that all of them were watched."""
    scene = Scene()
    scene.observed(-1, DAY, settings=json.dumps({"file": {"enabled": True, "read": watched, "write": []}}))
    for number, (path, error) in enumerate((("/etc/gshadow", None), ("/etc/shadow", 13), ("/etc/passwd", None))):
        process = scene.process(None, f"/bin/{number}", [], number)
        own = {name: value for name, value in process.row.items() if name != "ns_net"}
        scene.add("file", number, event="open", path=path, opened_for="read", error=error, **own)
    found = _asked(scene.write(tmp_path / "h"), "accounts")
    assert [(row["who"], row["grade"], row["evidence"]) for row in found.found.rows] == [
        ("host /bin/0", "read", ["opened /etc/gshadow"])
    ]
    assert ("watched ones alone" in found.sentence) == (watched != ["/etc/"])
    scene.rows["file"] = []
    none = _asked(scene.write(tmp_path / "none"), "accounts")
    unwatched = any("not all files of accounts" in reason for reason in none.completeness.reasons)
    assert none.found.total == 0 and unwatched == (watched != ["/etc/"]), none.completeness.reasons


_KEYS_READ = {
    "file": {"enabled": True, "read": ["**/.ssh/", "**/.ssh/id_*", "**/.ssh/*.pem", "/etc/ssh/"], "write": []}
}


def _opened(scene: Scene, at: float = 10, **values: Any) -> None:
    process = scene.process(None, "/bin/evil", [], at)
    own = {name: value for name, value in process.row.items() if name != "ns_net"}
    scene.add("file", at, **{"event": "open", "opened_for": "read", **own, **values})


@pytest.mark.parametrize(
    ("values", "opened"),
    [
        ({"path": "/home/a\nb/.ssh/id_rsa"}, "/home/a\nb/.ssh/id_rsa"),
        ({"path": "/keys/id_rsa", "source_path": "/root/.ssh/id_rsa"}, "/root/.ssh/id_rsa"),
        ({"path": "/keys/id_rsa"}, None),
        ({"path": "/root/.ssh/id_rsa\n"}, "/root/.ssh/id_rsa\n"),
    ],
    ids=["a line in its name", "a mount of a part of its file system", "another file", "a line at its end"],
)
def test_a_file_by_each_of_its_names(tmp_path: Path, values: dict[str, Any], opened: str | None) -> None:
    """Law: any letter may stand in a path; in a bind mount the file has another one, and its own as `source_path`."""
    scene = Scene()
    scene.observed(-1, DAY, settings=json.dumps(_KEYS_READ))
    _opened(scene, **values)
    found = _asked(scene.write(tmp_path / "h"), "ssh")
    assert [row["evidence"] for row in found.found.rows] == ([[f"opened {opened}"]] if opened else [])


@pytest.mark.parametrize("event", ["link", "rename"])
@pytest.mark.parametrize(
    ("path", "target", "doubted"), [("id_rsa", "/tmp/x", True), ("id_rsa", "/root/.ssh/id_1", False)]
)
def test_a_file_with_another_name_may_have_been_read(
    tmp_path: Path, event: str, path: str, target: str, doubted: bool
) -> None:
    """Law: by a name that is not watched it is read unseen, from then on; a name that is watched too hides nothing."""
    scene = Scene()
    scene.observed(-1, DAY, settings=json.dumps(_KEYS_READ))
    _opened(scene, event=event, path=f"/root/.ssh/{path}", target=target)
    history = scene.write(tmp_path / "h")
    for since in (None, 3600):
        found = _asked(history, "ssh", since=since)
        assert any("another name" in reason for reason in found.completeness.reasons) == doubted


@pytest.mark.parametrize("enabled", [True, False])
def test_losses_of_watched_files_count(tmp_path: Path, enabled: bool) -> None:
    """Law: an open that was lost may be the one; the sentence names what was not watched, and then nothing was lost of it."""
    scene = Scene()
    scene.observed(-1, DAY, settings=json.dumps({"file": {**_KEYS_READ["file"], "enabled": enabled}}))
    where = {"node": scene.node, "boot": scene.boot, "cause": "sequence_gap", "events": 1, "table_name": "file"}
    scene.add("loss", 60, **where, since=scene.at(59), until=scene.at(60))
    found = _asked(scene.write(tmp_path / "h"), "ssh")
    assert (found.completeness.events_lost == 1) == enabled and not found.completeness.complete
    assert ("watched ones alone" in found.sentence) != enabled
    assert any("io_uring" in reason for reason in found.completeness.reasons) == enabled, "as for `touched`"


def test_an_environment_that_was_not_read(tmp_path: Path) -> None:
    """Law: its variables may be such."""
    scene = Scene()
    scene.observed(-1, DAY)
    scene.process(None, "/bin/x", [], 1, flag_names="ENV_UNREAD", env_length=300)
    scene.process(None, "/bin/x", [], 2, env_length=9000)
    found = _asked(scene.write(tmp_path / "h"), "s3").completeness.reasons
    assert [one.partition(" env")[0] for one in found] == [
        "the names of variables behind the first 4,096 bytes of 1",
        "1",
    ]


@pytest.mark.parametrize("since", [None, 3600])
def test_a_name_that_stands_for_such_a_host(tmp_path: Path, since: float | None) -> None:
    """Law: where the name that was asked for is an alias of one (CNAME), its connection is a use, also after the answer's time to live;
    for who asked, and for nobody else."""
    scene = Scene()
    scene.observed(-1, DAY)
    asking, other = (
        scene.process(scene.pod(name, f"10.244.0.{at}"), "/bin/x", [], at) for at, name in ((7, "a"), (8, "b"))
    )
    scene.ask(asking, "assets.example.com", ["52.218.0.1"], 10, alias="bucket.s3.amazonaws.com")
    scene.ask(other, "assets.example.com", ["198.51.100.7"], 10)
    scene.connect(asking, "52.218.0.1", 443, 4000, names=["assets.example.com"])
    scene.connect(other, "198.51.100.7", 443, 4001, names=["assets.example.com"])
    found = _asked(scene.write(tmp_path / "h"), "s3", since=since).found.rows
    assert [(row["pods"], row["evidence"]) for row in found] == [(["a"], ["connected to bucket.s3.amazonaws.com"])]


def test_each_head_of_a_connection_counts(tmp_path: Path) -> None:
    """Law: by one connection (to a proxy) several hosts are reached."""
    scene = Scene()
    scene.observed(-1, DAY)
    process = scene.process(None, "/bin/x", [], 1)
    cookie = scene.connect(process, "10.0.0.9", 3128, 2, names=["proxy.example"])
    for at, host in enumerate(("b.s3.amazonaws.com", "storage.googleapis.com", "v.vault.azure.net")):
        scene.request(process, cookie, "10.0.0.9", 3128, 2.1 + at, host=host)
    found = _asked(scene.write(tmp_path / "h"))
    assert {row["credential"] for row in found.found.rows if row["grade"] == "used"} >= {"s3", "aws", "gcp", "azure"}


def test_files_by_another_path(tmp_path: Path) -> None:
    """Law: a bind mount shows the same file, by the path from the root of its file system; of one that got another name "none" is not known."""
    scene = Scene()
    scene.observed(-1, DAY, settings=json.dumps({"file": {"enabled": True, "read": ["/etc/"], "write": []}}))
    process = scene.process(None, "/bin/reader", [], 0)
    own = {name: value for name, value in process.row.items() if name != "ns_net"}
    for number, names in enumerate(
        ({"path": "/host/etc/shadow", "source_path": "/etc/shadow"}, {"path": "/mnt/x", "source_path": "/x"})
    ):
        scene.add("file", number + 1, event="open", opened_for="read", **names, **own)
    found = _asked(scene.write(tmp_path / "h"), "accounts")
    assert [row["evidence"] for row in found.found.rows] == [["opened /etc/shadow"]]
    assert not any("another name" in reason for reason in found.completeness.reasons)
    for event, path, target in (
        ("link", "/etc/shadow", "/tmp/x"),
        ("rename", "/etc/security", "/etc/s"),
        ("rename", "/etc/x", "/etc/y"),
    ):
        scene.add("file", 5, event=event, path=path, target=target, **own)
    named = _asked(scene.write(tmp_path / "named"), "accounts").completeness.reasons
    assert [reason for reason in named if "2 times" in reason and "another name" in reason], named


@pytest.mark.parametrize(
    ("words", "without", "message"),
    [
        (("awss",), (), "no kind of credentials is called 'awss'; did you mean aws"),
        (("s3",), ("logging/DaemonSet/fluent",), "no such workload is in this history; did you mean logging/DaemonSet"),
        (("s3",), ("x@sha256:" + "c" * 64,), "no container of this history has an image of this digest"),
    ],
)
def test_what_is_not_known_is_refused(
    history: Path, words: tuple[str, ...], without: tuple[str, ...], message: str
) -> None:
    """Law: a misspelled word answers nothing."""
    with pytest.raises(UsageError, match=re.escape(message)):
        _asked(history, *words, without=without)


# ---- kinds ----


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/root/.aws/credentials", "aws"),
        ("/home/a/.aws/credentials", "s3"),
        ("/var/run/secrets/kubernetes.io/serviceaccount/token", "kubernetes"),
        ("/etc/shadow", "accounts"),
        ("/root/.ssh/id_ed25519", "ssh"),
        ("/etc/kubernetes/pki/ca.key", "node"),
        ("/home/a/.kube/config", "kubeconfig"),
        ("/root/.docker/config.json", "registry"),
    ],
)
def test_files_of_a_kind(path: str, kind: str) -> None:
    """Law: well known places are known; a file beside is none."""
    fits = re.compile(credentials.of_files(credentials.kinds()[kind].files))
    assert fits.match(path) and not fits.match(path.replace("/", "/_")) and not fits.match("/srv")


def test_kinds_are_well_formed() -> None:
    """Law: each has words, every pattern makes an expression, and `*` alone stands nowhere."""
    for kind in credentials.kinds().values():
        assert kind.doc and (kind.variables or kind.files)
        assert watchlist.checked(kind.files) == kind.files
        for patterns in (kind.variables, kind.services, kind.tokens):
            assert not re.match(credentials.expression(patterns), "/")
            assert not re.match(credentials.expression(patterns), "example.com")


@pytest.mark.parametrize(("direction", "used"), [("out", True), ("in", False)])
def test_a_head_on_a_connection_that_has_no_row(tmp_path: Path, direction: str, used: bool) -> None:
    """Law: what was sent to such a host was sent, whether or not the connection's own rows are held; who serves such a name uses none."""
    scene = Scene()
    scene.observed(-1, DAY)
    process = scene.process(scene.pod("web", "10.244.0.7"), "/bin/x", [], 1)
    scene.request(process, 77, "52.218.0.1", 443, 2.0, sni="b.s3.amazonaws.com", protocol="tls")
    scene.rows["request"][-1]["direction"] = direction
    found = _asked(scene.write(tmp_path / "h"), "s3").found.rows
    assert [(row["grade"], row["evidence"]) for row in found] == (
        [("used", ["connected to b.s3.amazonaws.com"])] if used else []
    )
