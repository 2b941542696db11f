"""What runtimes tell, as rows: whole, spanning time, superseding one another, and never a guess."""

from __future__ import annotations

import json
from typing import Any

from firsthand.identity.book import Book
from firsthand.identity.runtimes.facts import ContainerFacts, Happened, Inspected, PodFacts

SANDBOX, FIRST, SECOND = "5" * 64, "a" * 64, "b" * 64
SOCKET = "/run/containerd/containerd.sock"


def _pod(**more: Any) -> Inspected:
    pod = PodFacts(SANDBOX, "web", "shop", "uid-1", "ready", 100, ["10.0.0.1"], {"app": "web"}, **more)
    return Inspected(
        ContainerFacts(SANDBOX, sandbox=SANDBOX, kind="sandbox", kind_source="runtime", state="running", created=100),
        pod,
    )


def _container(identity: str, name: str, created: int, **more: Any) -> Inspected:
    return Inspected(
        ContainerFacts(identity, sandbox=SANDBOX, name=name, created=created, image="img", image_id="sha256:1", **more)
    )


def _by_id(rows: list[tuple[str, dict[str, object]]], table: str = "container") -> dict[object, dict[str, object]]:
    return {row["container"]: row for name, row in rows if name == table}


def test_a_container_has_its_pods_name() -> None:
    """By its sandbox, whichever of the two is told first."""
    for turn in ((_pod(), _container(FIRST, "app", 110)), (_container(FIRST, "app", 110), _pod())):
        book = Book()
        rows = [row for told in turn for row in book.found(SOCKET, "containerd", told)]
        last = _by_id(rows)[FIRST]
        assert (last["pod"], last["namespace"], last["container_name"], last["pod_uid"]) == (
            "web",
            "shop",
            "app",
            "uid-1",
        )
        assert _by_id(rows, "pod")[SANDBOX]["addresses"] == ["10.0.0.1"]
        assert book.missing_sandbox(FIRST) is None


def test_the_kubelets_labels_stand_in_for_the_sandbox() -> None:
    """A container of which the sandbox is not known yet has its pod by its own labels, and its sandbox is asked for."""
    book = Book()
    told = _container(FIRST, "app", 110, pod=PodFacts("", "web", "shop", "uid-1"))
    assert _by_id(book.found(SOCKET, "containerd", told))[FIRST]["pod"] == "web"
    assert book.missing_sandbox(FIRST) == SANDBOX


def test_nothing_new_is_no_row() -> None:
    """The same told twice is written once; a later word is added, an older one is not taken back."""
    book = Book()
    assert book.found(SOCKET, "containerd", _container(FIRST, "app", 110))
    assert book.found(SOCKET, "containerd", _container(FIRST, "app", 110)) == []
    rows = book.found(SOCKET, "containerd", _container(FIRST, "app", 115, state="running"))
    assert _by_id(rows)[FIRST]["since"] == 110 and _by_id(rows)[FIRST]["image"] == "img"


def test_the_end_closes_the_span() -> None:
    """By the kernel's word, the earlier of two; `gone` keeps it. A container that is started again lives again."""
    book = Book()
    book.found(SOCKET, "docker", _container(FIRST, "app", 110))
    ended = _by_id(book.happened(Happened(FIRST, "exited", 200, 3)))[FIRST]
    assert (ended["state"], ended["until"], ended["exit_code"]) == ("exited", 200, 3)
    again = _by_id(book.happened(Happened(FIRST, "started", 300)))[FIRST]
    assert (again["state"], again["until"], again["exit_code"]) == ("running", None, None)
    book.happened(Happened(FIRST, "exited", 400, 0))
    gone = _by_id(book.gone(FIRST, 500))[FIRST]
    assert (gone["event"], gone["until"]) == ("gone", 400)
    assert book.gone(FIRST, 600) == [] and not book.knows(FIRST)


def test_a_stopped_sandbox_gives_its_address_back() -> None:
    """The pod's span ends when its sandbox does, not when its runtime forgets it."""
    book = Book()
    book.found(SOCKET, "containerd", _pod())
    rows = book.happened(Happened(SANDBOX, "exited", 250))
    assert _by_id(rows, "pod")[SANDBOX]["until"] == 250 and _by_id(rows, "pod")[SANDBOX]["state"] == "not_ready"
    assert _by_id(book.gone(SANDBOX, 900), "pod")[SANDBOX]["until"] == 250


def test_init_by_order() -> None:
    """It ended before another of the pod was made. A crash loop's next attempt, of the same name, does not make it one."""
    book = Book()
    book.found(SOCKET, "containerd", _pod())
    book.found(SOCKET, "containerd", _container(FIRST, "prepare", 110, finished=120, state="exited"))
    rows = book.found(SOCKET, "containerd", _container("c" * 64, "prepare", 130))
    assert FIRST not in _by_id(rows)
    rows = book.found(SOCKET, "containerd", _container(SECOND, "app", 140))
    assert (_by_id(rows)[FIRST]["kind"], _by_id(rows)[FIRST]["kind_source"]) == ("init", "order")
    assert (_by_id(rows)[SECOND]["kind"], _by_id(rows)[SECOND]["kind_source"]) == ("container", None)


def test_init_by_the_applied_specification() -> None:
    """The pod's annotation names it, from its first row on; a broken one tells nothing."""
    spec = {"spec": {"initContainers": [{"name": "prepare"}]}}
    for text, kind in (
        (json.dumps(spec), "init"),
        ("{", "container"),
        ('{"spec": 3}', "container"),
        ("[]", "container"),
    ):
        book = Book()
        book.found(SOCKET, "containerd", _pod(annotations={"kubectl.kubernetes.io/last-applied-configuration": text}))
        assert _by_id(book.found(SOCKET, "containerd", _container(FIRST, "prepare", 110)))[FIRST]["kind"] == kind


def test_the_digest_of_a_known_image() -> None:
    """Told once for an image, it stands for the next container of it that is not told whole."""
    book = Book()
    book.found(SOCKET, "containerd", _container(FIRST, "app", 110, image_digest="sha256:manifest"))
    part = _container(SECOND, "app", 120)
    rows = book.found(SOCKET, "containerd", Inspected(part.container, whole=False))
    assert _by_id(rows)[SECOND]["image_digest"] == "sha256:manifest"


def test_wanted_annotations_alone() -> None:
    """By key, or by a beginning with a star; labels are bounded, and what was cut is said."""
    book = Book(["keep", "some/*"])
    pod = _pod(annotations={"keep": "1", "some/thing": "2", "other": "secret"})
    pod.pod.labels.update({f"label-{n}": "x" for n in range(200)})  # type: ignore[union-attr]
    row = _by_id(book.found(SOCKET, "containerd", pod), "pod")[SANDBOX]
    assert row["annotations"] == ["keep=1", "some/thing=2"]
    assert len(row["labels"]) == 128 and row["cut"] == "labels"  # type: ignore[arg-type]


def test_everything_again() -> None:
    """Each day tells all that lives."""
    book = Book()
    book.found(SOCKET, "containerd", _pod())
    book.found(SOCKET, "containerd", _container(FIRST, "app", 110))
    assert {(table, row["container"]) for table, row in book.everything()} == {
        ("container", SANDBOX),
        ("pod", SANDBOX),
        ("container", FIRST),
    }


def test_an_address_is_a_pods_own_from_its_cgroup_on() -> None:
    """Known before or after the runtime tells the pod; unknown where the kernel did not tell."""
    for before in (True, False):
        book = Book()
        rows = book.began(SANDBOX, 130) if before else []
        rows += book.found(SOCKET, "containerd", _pod())
        rows += [] if before else book.began(SANDBOX, 130)
        assert _by_id(rows, "pod")[SANDBOX]["addresses_since"] == 130
    assert _by_id(Book().found(SOCKET, "containerd", _pod()), "pod")[SANDBOX]["addresses_since"] is None


def test_the_end_of_the_run_before_is_told_late() -> None:
    """A container that was started again at once: its cgroup's end, which comes later, is not this run's."""
    book = Book()
    book.found(SOCKET, "docker", _container(FIRST, "app", 110))
    book.happened(Happened(FIRST, "exited", 200, 1))
    book.happened(Happened(FIRST, "started", 210))
    assert book.happened(Happened(FIRST, "exited", 199)) == [] and book.of(SOCKET)[FIRST] == "running"
    assert book.age(FIRST) >= 0


def test_an_answer_that_came_after_the_end() -> None:
    """It was asked for before that: nothing lives again by it, so that its address is its own no longer; by a later start it does."""
    book = Book()
    book.found(SOCKET, "containerd", _pod())
    book.found(SOCKET, "containerd", _container(FIRST, "app", 110, state="running", started=120))
    for identity in (FIRST, SANDBOX):
        book.happened(Happened(identity, "exited", 200))
    rows = book.found(SOCKET, "containerd", _pod())
    rows += book.found(
        SOCKET, "containerd", _container(FIRST, "app", 110, state="running", started=120, labels={"a": "b"})
    )
    assert _by_id(rows)[FIRST]["until"] == 200 and all(row["until"] == 200 for _, row in book.everything())
    assert book.of(SOCKET) == {SANDBOX: "not_ready", FIRST: "exited"}
    again = book.found(SOCKET, "docker", _container(FIRST, "app", 110, state="running", started=300))
    assert _by_id(again)[FIRST]["until"] is None


def test_a_container_is_where_its_runtime_says() -> None:
    """Its cgroup and all below it are its own until it is gone, whatever its id is; a neighbour with a longer name is not."""
    book = Book()
    facts = ContainerFacts("my-ctr-1", name="my-ctr-1", created=110, cgroup_path="/default/my-ctr-1")
    rows = book.found(SOCKET, "containerd", Inspected(facts))
    assert _by_id(rows)["my-ctr-1"]["cgroup_path"] == "/default/my-ctr-1"
    assert book.at("/default/my-ctr-1") == book.at("/default/my-ctr-1/init/a") == "my-ctr-1"
    assert book.at("/default/my-ctr-10") is book.at("/default") is book.at("") is book.at("/") is None
    assert book.place_of("my-ctr-1") == "/default/my-ctr-1" and book.place_of("other") is None
    book.gone("my-ctr-1", 200)
    assert book.at("/default/my-ctr-1") is None
