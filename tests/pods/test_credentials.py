"""Who used S3 credentials other than Fluentd: pods over CRI, by a file, by variables, by a token service and by TLS to S3's name.

One is Fluentd's DaemonSet by its labels, one a pod of a Deployment, one a pod that is only called fluentd. All is played once.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import asking, require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed
from tests.network import DnsServer, NetworkNamespace
from tests.pods.containerd import OwnContainerd
from tests.pods.kubelet import Kubelet, MadeContainer
from tests.pods.node_network import OUTSIDE, RESOLVERS, NodeNetwork

pytestmark = pytest.mark.xdist_group("runtimes")

BUCKET, METADATA = "bucket.s3.eu-west-1.amazonaws.com", "169.254.169.254"
_FILE = "/root/.aws/credentials"
_GET = f"/bin/wget -q -O /dev/null --no-check-certificate https://{BUCKET}/object"
_SETTINGS = f"""
[network]
resolvers = ["{RESOLVERS[0]}"]
[files]
enabled = true
"""


class CredentialScene:
    """The node, three pods, and the record of what they did."""

    def __init__(self, daemon: OwnContainerd, network: NodeNetwork, folder: Path) -> None:
        self.folder, self.network = folder, network
        (folder / "aws").mkdir()
        (folder / "aws/credentials").write_text("[default]\n")
        with TestCgroup("unified") as self.servers, Kubelet(daemon) as self.kubelet:
            self._services()
            self.observed = Observed(
                folder / "history", [daemon.cgroup.path], "--runtime", f"containerd:{daemon.folder}/socket"
            )
            self.observed.popen = network.popen
            with self.observed:
                self._fluentd()
                self._web()
                self._called_so()
                self.observed.wait(f"SELECT DISTINCT pod FROM request WHERE sni = '{BUCKET}' AND pod IS NOT NULL", 3)

    def _services(self) -> None:
        """S3 by TLS outside, a token service on the node's link-local address, and the cluster's resolver."""
        NetworkNamespace.ip("-n", self.network.node.name, "addr", "add", f"{METADATA}/32", "dev", "lo")
        self.network.serve(self.servers, METADATA, 80, answer=200)
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        made += ["-subj", f"/CN={BUCKET}", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(made, check=True, capture_output=True)
        serve = [
            "openssl",
            "s_server",
            "-www",
            "-cipher",
            "ALL:@SECLEVEL=0",  # busybox names no signature algorithm, which means SHA-1
            "-tls1_2",
            "-accept",
            f"{OUTSIDE}:443",
            "-key",
            str(key),
            "-cert",
            str(certificate),
        ]
        child = self.servers.run(self.network.within(serve, self.network.outside), stdout=subprocess.PIPE)
        assert child.stdout is not None and any(b"ACCEPT" in line for line in child.stdout)
        record = f"--host-record={BUCKET},{OUTSIDE}"
        DnsServer(self.servers, self.network.node, self.folder, record, "--local=/amazonaws.com/", address=RESOLVERS[0])

    def _pod(self, name: str, namespace: str, *, labels: dict[str, str]) -> MadeContainer:
        pod = self.kubelet.pod(name, namespace, labels=labels, resolvers=RESOLVERS[:1])
        return pod.run("app", "/bin/sleep", "600", mounts=[(str(self.folder / "aws"), "/root/.aws", True)])

    def _runs(self, made: MadeContainer, words: str) -> None:
        done = made.exec("/bin/sh", "-c", words)
        assert done.exit_code == 0, done.stderr

    def _fluentd(self) -> None:
        labels = {"controller-revision-hash": "7d9f5c8b6d", "pod-template-generation": "1"}
        self._runs(self._pod("fluentd-x2x4z", "logging", labels=labels), f"/bin/cat {_FILE} >/dev/null; {_GET}")

    def _web(self) -> None:
        """By variables and a token, and not by a file."""
        token = f"echo | /bin/nc -w 5 {METADATA} 80 >/dev/null"
        made = self._pod("web-5d4c6b7f9-x2x4z", "shop", labels={"pod-template-hash": "5d4c6b7f9"})
        self._runs(made, f"export AWS_SECRET_ACCESS_KEY=x; {token}; {_GET}")

    def _called_so(self) -> None:
        self._runs(self._pod("fluentd", "default", labels={"app": "fluentd"}), _GET)

    def ask(self, *words: str) -> dict[str, Any]:
        """A whole answer."""
        return asking.ask(self.observed.history, "credentials", *words)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CredentialScene]:
    """Played once."""
    require.pods()
    require.bpf()
    require.programs("dns", "dnsmasq", "ip", "iptables", "nsenter", "openssl")
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "config.toml").write_text(_SETTINGS)
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with pytest.MonkeyPatch.context() as patch, NodeNetwork() as network, TestCgroup() as cgroup:
        patch.setenv("FIRSTHAND_CONFIG", str(folder / "config.toml"))
        with OwnContainerd(cgroup, place, cri=True, network=network.node.name) as daemon:
            yield CredentialScene(daemon, network, folder)


def _found(answer: dict[str, Any]) -> dict[tuple[str, str, str], list[str]]:
    return {(row["who"], row["credential"], row["grade"]): row["evidence"] for row in answer["rows"]}


def test_who_used_s3(scene: CredentialScene) -> None:
    """Law: each by its workload, by what it reached; a name in the environment alone is no use."""
    found = _found(scene.ask("s3"))
    used = {who: evidence for (who, kind, grade), evidence in found.items() if (kind, grade) == ("s3", "used")}
    assert set(used) == {"logging/DaemonSet/fluentd", "shop/Deployment/web", "default/fluentd"}, found
    assert all(any(BUCKET in one for one in evidence) for evidence in used.values()), used


def test_other_than_fluentd(scene: CredentialScene) -> None:
    """Law: the DaemonSet is left out, with its number; one that is only called so is not; labels alone prove no "none other"."""
    answer = scene.ask("s3", "--except", "logging/daemonset/fluentd")
    who = {row["who"] for row in answer["rows"]}
    assert (
        answer["answer"].startswith("Yes: 2 workloads used s3 credentials")
        and "left out (--except)" in answer["answer"]
    )
    assert not any(one.lower() == "logging/daemonset/fluentd" for one in who) and len(who) == 2, who
    assert any("default" in one and "fluentd" in one for one in who), who


def test_how_each_came_by_them(scene: CredentialScene) -> None:
    """Law: the watched file that was opened, the name of the variable and never its value, the address that hands out tokens."""
    answer = scene.ask("aws")
    evidence = {(row["who"].lower(), row["grade"]): " ".join(row["evidence"]) for row in answer["rows"]}
    of = {who: " ".join(words for (one, _), words in evidence.items() if one == who) for who, _ in evidence}
    assert f"opened {_FILE}" in of["logging/daemonset/fluentd"], of
    assert "variable AWS_SECRET_ACCESS_KEY" in of["shop/deployment/web"] and METADATA in of["shop/deployment/web"], of
    assert f"opened {_FILE}" not in of["shop/deployment/web"], of
