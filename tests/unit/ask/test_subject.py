"""ask/subject.py: what an argument names, and nothing else that only begins like it (law 11)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.ask import subject
from firsthand.errors import UsageError
from tests.asking import ask, rows
from tests.scenes import Scene


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pod named as the ids of other pods' containers begin, one of the host, and a container whose id is a word."""
    scene = Scene()
    scene.observed(-1, 600)
    for name, container in (("0", None), ("ho", None), ("web", None), ("db", "db" + "0" * 62), ("other", "my-app-1")):
        pod = scene.pod(name, None)
        pod = replace(pod, container=container or pod.container)
        scene.rows["container"][-1]["container"] = pod.container
        scene.process(pod, f"/bin/of-{name}", [], 1.0)
    scene.process(None, "/bin/of-host", [], 1.0)
    return scene.write(tmp_path_factory.mktemp("history"))


def _exes(history: Path, text: str) -> set[str]:
    return {row["exe"] for row in rows(history, "tree", text)}


def test_a_pod_whose_name_begins_like_an_id(history: Path) -> None:
    """All ids but one begin with 0, and "ho" is a part of the word host."""
    assert _exes(history, "shop/0") == {"/bin/of-0"}
    assert _exes(history, "ho") == {"/bin/of-ho"} and _exes(history, "host") == {"/bin/of-host"}
    assert _exes(history, "db") == {"/bin/of-db"}


def test_a_container_by_its_id_and_its_beginning(history: Path) -> None:
    """From six digits on; a word is whole."""
    assert _exes(history, "db0000") == _exes(history, "db" + "0" * 62) == {"/bin/of-db"}
    assert _exes(history, "my-app-1") == {"/bin/of-other"}
    for text in ("db000", "my-app", "my-app-11"):
        with pytest.raises(UsageError, match="no pod, container or process named"):
            ask(history, "tree", text)


@pytest.mark.parametrize(("value", "number"), [("db", 0), ("db0000", 1), ("ho", 0), ("host", 1), ("my-app-1", 1)])
def test_the_condition_on_processes_means_the_same(history: Path, value: str, number: int) -> None:
    """What no container is named or begins with is refused."""
    if number:
        assert len(rows(history, "processes", f"container={value}")) == number
    else:
        with pytest.raises(UsageError, match=f"named {value}"):
            ask(history, "processes", f"container={value}")


def test_an_image_by_numbers_or_by_its_text() -> None:
    """What is no exec_id is compared as a text, which no row has."""
    assert subject.image("0123abcd:12:34:5")[1] == [34, 12, 5, "0123abcd"]
    for key in ("0123abcd:12:34", "0123abcd:12:034:5", "0123abcd:12:²:5", f"0123abcd:12:{1 << 63}:5"):
        assert subject.image(key) == ("exec_id = ?", [key]) and subject.image(key, "parent") == (
            "parent_exec_id = ?",
            [key],
        )
