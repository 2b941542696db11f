"""Programs on their way into the real kernel: how long each is to verify, and that they come in together or, where refused, singly."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firsthand.observe.options import ObserverOptions
from firsthand.probe import libbpf, load, pins, programs, stats
from firsthand.probe.options import LoadOptions
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, SWEEPS, AtCgroup
from firsthand.settings import Settings
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.network import Network
from firsthand.settings.sections.top import Top
from firsthand.subjects.file import WatchedFiles
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel import sweeps

#: Instructions that the verifier may look at in one program: more makes every start slow, whatever the machine.
MOST_VERIFIED = 40_000
#: Loads of objects at a start where every hook is wanted and all that can be refused is: before programs shared a load, 44.
MOST_LOADS = 30


class StartWatched:
    """What a start loads: each load's number of programs, and the verified instructions of each program in the kernel."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.loads: list[int] = []
        self.verified: dict[str, int] = {}
        load_group, end = programs.ObjectPrograms.load, programs.Programs.__exit__

        def loaded(group: programs.ObjectPrograms) -> None:
            self.loads.append(len(group.wanted))
            load_group(group)

        def ended(found: programs.Programs, *error: Any) -> None:
            self.verified |= {name: stats.verified(fd) for name, fd in found.fds.items()}
            end(found, *error)

        patch.setattr(programs.ObjectPrograms, "load", loaded)
        patch.setattr(programs.Programs, "__exit__", ended)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> StartWatched:
    """The loader of this process, watched."""
    return StartWatched(monkeypatch)


@pytest.fixture
def options(cgroup: TestCgroup, history: Path) -> Iterator[LoadOptions]:
    """Everything that can be asked for here, of one cgroup."""
    require.bpf()
    folds = not sweeps.refusal()
    libraries = tuple(map(str, Path("/usr/lib").glob("*/libssl.so*")))
    top = Top(instance=f"test-{uuid.uuid4().hex[:12]}")
    given = Settings(
        top, Folding(processes=folds, connections=folds), Network(plaintext=libraries[:1]), WatchedFiles(enabled=True)
    )
    yield ObserverOptions(history=str(history), scopes=(str(cgroup.path),), settings=given).load_options()
    pins.remove(top.instance)


def test_no_program_is_long_to_verify(options: LoadOptions, watched: StartWatched) -> None:
    """Each program that this kernel takes, with every setting that adds code to it."""
    loaded = load.bring_in(options)
    ways = {name for hook in (*HOOKS, *EXISTING, *SWEEPS, PLAIN) for name in hook.programs}
    attached = {program.name for program in (*loaded.programs, *loaded.sweeps)}
    loaded.forget()
    assert attached <= set(watched.verified) & ways
    assert all(0 < count <= MOST_VERIFIED for count in watched.verified.values()), watched.verified


def test_programs_of_an_object_share_a_load(options: LoadOptions, watched: StartWatched) -> None:
    """Each load reads the kernel's types anew: there are as few as the kernel's refusals allow."""
    load.bring_in(options).forget()
    assert len(watched.loads) <= MOST_LOADS and max(watched.loads) > 5, watched.loads
    watched.loads.clear()
    again = load.bring_in(options)
    again.forget()
    refused = [name for hook in HOOKS if hook.name in again.missing for name in hook.programs]
    assert len(watched.loads) == len(refused) + 1, (
        "the uprobes, which follow the libraries, and what was refused before"
    )


def test_one_that_is_refused_takes_no_other_with_it(options: LoadOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that would share a load with it are there all the same, and the reason is its own: here a type that no kernel has."""
    whole = load.bring_in(options)
    before = whole.hooks()
    whole.close()
    unknown = AtCgroup(9_999, 0)
    hooks = [replace(hook, at_cgroup={"packet_in": unknown}) if hook.name == "packet_in" else hook for hook in HOOKS]
    monkeypatch.setattr(load, "HOOKS", hooks)
    loaded = load.bring_in(options)
    after = loaded.hooks()
    loaded.close()
    assert re.fullmatch(r"missing: packet_in: bpf_object__load: Invalid argument.*", after.pop("packet_in"))
    assert before.pop("packet_in") == "present" and after == before


def test_one_way_of_a_hook_at_a_time(options: LoadOptions) -> None:
    """Where the kernel takes a better way than the one that a reader before attached, that one goes: no event is recorded twice."""
    loaded = load.bring_in(options)
    attached = {program.name for program in loaded.programs if program.link >= 0 and program.hook not in EXISTING}
    folder, loaded_hooks = loaded.folder, [hook for hook in HOOKS if len(hook.programs) > 1]
    loaded.forget()
    chosen = next(hook for hook in loaded_hooks if hook.programs[0] in attached)
    other = chosen.programs[1]
    for word in ("link", "spine", "entry"):
        (folder / f"{word}_{chosen.programs[0]}").rename(folder / f"{word}_{other}")
    told = options.told.having(Network, flow_idle_seconds=31)
    load.bring_in(replace(options, told=told)).forget()
    pinned = {path.name for path in folder.iterdir()}
    assert f"link_{chosen.programs[0]}" in pinned and not pinned & {
        f"{word}_{other}" for word in ("link", "spine", "entry")
    }


def test_threads_hear_their_own_messages() -> None:
    """What libbpf says of one load is not mixed with what it says of another."""

    def fail(name: str) -> list[str]:
        with pytest.raises(OSError, match="bpf_object__open_file"):
            libbpf.pointer("bpf_object__open_file", f"/nowhere/{name}".encode(), None)
        return libbpf.messages.lines

    with ThreadPoolExecutor(8) as pool:
        names = [f"object-{number}" for number in range(64)]
        heard = list(pool.map(fail, names))
    assert all(name in lines[-1] for name, lines in zip(names, heard, strict=True))
