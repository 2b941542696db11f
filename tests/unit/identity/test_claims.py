"""claims.py: a cgroup's path is a claim, and a runtime's word on its place decides."""

from __future__ import annotations

import pytest

from firsthand.identity.claims import Claims, own, pod_folder
from firsthand.identity.runtimes.specification import cgroup_path

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
UID = "01234567-89ab-cdef-0123-456789abcdef"
POD = f"/kubepods/besteffort/pod{UID}"
SLICES = f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice"
NODE = f"/docker/{'f' * 64}/kubelet"
#: Below the root of a runtime's hierarchy: where it says that containers are, and the folder's name.
SPELLINGS = {
    "cgroupfs": (f"{POD}/{A}", f"{POD}/{A}"),
    "systemd": (f"kubepods-pod{UID.replace('-', '_')}.slice:cri-containerd:{A}", f"{SLICES}/cri-containerd-{A}.scope"),
    "crio": (f"kubepods-pod{UID.replace('-', '_')}.slice:crio:{A}", f"{SLICES}/crio-{A}.scope"),
    "podman": (f"machine.slice:libpod:{A}", f"/machine.slice/libpod-{A}.scope"),
}


def _said(claims: Claims, identity: str, place: str | None) -> dict[str, str]:
    return {one.path: one.event for one in claims.judge("/s", identity, place)}


@pytest.mark.parametrize("root", ["", NODE, "/user.slice/user-1000.slice/user@1000.service"])
@pytest.mark.parametrize("spelling", list(SPELLINGS))
def test_a_place_below_the_runtimes_own_root(spelling: str, root: str) -> None:
    """Law: it is confirmed where the runtime has it, below whatever root (kind's node, a user's manager), also for what it made inside."""
    told, folder = SPELLINGS[spelling]
    claims = Claims()
    claims.met(A, f"{root}{folder}/inner")
    # The very place needs no row: readers compare it.
    assert _said(claims, A, cgroup_path(told)) == ({f"{root}{folder}": "confirmed"} if root else {})
    assert claims.stands(A, f"{root}{folder}/inner/more")
    assert _said(claims, A, cgroup_path(told)) == {}, "once"


@pytest.mark.parametrize("root", ["", NODE])
@pytest.mark.parametrize("forged", [f"/evil/{A}", f"/evil{POD}/{A}", f"{POD}/{B}{POD}/{A}"])
def test_the_same_id_elsewhere_is_contradicted(root: str, forged: str) -> None:
    """Law: in the order in which they may be met, the claim that a runtime has elsewhere is a verdict with where that is."""
    for first in (True, False):
        claims = Claims()
        for identity in (B, C):  # others of the same runtime: they tell its root
            claims.met(identity, f"{root}{POD}/{identity}")
            claims.judge("/s", identity, f"{POD}/{identity}")
        paths = [f"{root}{POD}/{A}", forged]
        for path in paths if first else reversed(paths):
            claims.met(A, path)
        found = {one.path: one for one in claims.judge("/s", A, f"{POD}/{A}")}
        assert (found[forged].event, found[forged].reason) == ("contradicted", f"{root}{POD}/{A}")
        assert not claims.stands(A, f"{forged}/below") and claims.stands(A, paths[0])
        assert {one.path for one in claims.everything() if one.event == "contradicted"} == {forged}


def test_what_was_judged_by_too_little_is_judged_again() -> None:
    """Law: the machine's root counts once a container was met there, for those as well that were judged before."""
    claims = Claims()
    claims.met(A, f"/evil{POD}/{A}")
    assert _said(claims, A, f"{POD}/{A}") == {f"/evil{POD}/{A}": "confirmed"}, "nothing else is known of this runtime"
    claims.met(B, f"{POD}/{B}")
    assert _said(claims, B, f"{POD}/{B}") == {f"/evil{POD}/{A}": "contradicted"}


def test_many_forged_ones_do_not_outweigh_the_machines_root() -> None:
    """Law: whoever copies every container's cgroup, those of ended ones too, accuses himself and not them."""
    claims = Claims()
    claims.met(A, f"{POD}/{A}")
    for identity in (A, B, C):  # B and C have ended: their runtime remembers them, their cgroups are gone
        claims.met(identity, f"/evil{POD}/{identity}")
        claims.judge("/s", identity, f"{POD}/{identity}")
    told = {one.path: one.event for one in claims.everything()}
    assert told == {f"/evil{POD}/{identity}": "contradicted" for identity in (A, B, C)}
    assert claims.stands(A, f"{POD}/{A}")


def test_a_runtime_that_tells_no_place() -> None:
    """Law: the first cgroup of its id is confirmed, another one stays a claim, and nobody is accused."""
    claims = Claims()
    claims.met(A, f"/system.slice/docker-{A}.scope")
    claims.met(A, f"/evil/docker-{A}.scope")
    assert _said(claims, A, None) == {f"/system.slice/docker-{A}.scope": "confirmed"}
    assert _said(claims, A, None) == {} and claims.stands(A, f"/evil/docker-{A}.scope")


def test_what_no_runtime_told_has_no_verdict() -> None:
    """Law: a claim is no accusation."""
    claims = Claims()
    claims.met(A, f"{POD}/{A}")
    assert claims.everything() == [] and claims.stands(A, f"{POD}/{A}")


def test_a_cgroup_that_is_gone_counts_no_more() -> None:
    """Law: of a container that was stopped and started the new cgroup is judged, and the forged one between stays contradicted."""
    claims = Claims()
    for identity in (A, B):
        claims.met(identity, f"{POD}/{identity}")
        claims.judge("/s", identity, f"{POD}/{identity}")
    claims.removed(A, f"{POD}/{A}")
    claims.met(A, f"/evil{POD}/{A}")
    assert _said(claims, A, f"{POD}/{A}") == {f"/evil{POD}/{A}": "contradicted"}
    claims.met(A, f"{POD}/{A}")
    assert _said(claims, A, f"{POD}/{A}") == {}


def test_the_hypervisors_cgroup_is_no_forgery() -> None:
    """Kata has one more with the sandbox's id, beside the pods'."""
    claims = Claims()
    claims.met(A, f"/kata_overhead/{A}")
    claims.met(A, f"{POD}/{A}")
    assert _said(claims, A, f"{POD}/{A}") == {}


def test_paths() -> None:
    """The container's own cgroup of one below it, and its pod's."""
    assert own(f"{POD}/{A}/x/y/", A) == f"{POD}/{A}" and own(f"/x/docker-{A}.scope", A) == f"/x/docker-{A}.scope"
    assert pod_folder(f"{POD}/{A}") == POD and pod_folder(f"{SLICES}/cri-containerd-{A}.scope") == SLICES
    assert pod_folder(f"/docker/{A}") is None and pod_folder(f"/{A}") is None


def test_its_bound() -> None:
    """The least recently met goes first."""
    claims = Claims(2)
    for identity in (A, B, C):
        claims.met(identity, f"{POD}/{identity}")
    claims.judge("/s", A, "/elsewhere")
    assert claims.stands(A, f"{POD}/{A}"), "forgotten"
