"""Bring programs and maps into the kernel, attach what this kernel offers, or take over what is attached already."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from firsthand.errors import NotSupportedError, ProbeError
from firsthand.host import machine
from firsthand.probe import attach, libbpf, pins, shared, sweep, translation, uprobe, watching
from firsthand.probe.loaded import NETWORK, AttachedProgram, Loaded
from firsthand.probe.options import LoadOptions
from firsthand.probe.programs import Programs, RefusedError
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, PLAIN_FUNCTIONS, SWEEPS, Hook, wanted
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.network import Network
from firsthand.subjects.file import WatchedFiles

#: An iterator over tasks begins in the pid namespace of who opens it (kernel/bpf/task_iter.c, init_seq_pidns).
_PIDS = "not in the machine's pid namespace: what ran before, outside of this one, is not seen; hostPID: true in a pod"
_APART = "this network namespace is a container's own; hostNetwork: true in a pod"


def bring_in(options: LoadOptions) -> Loaded:
    """Load and attach every hook that this kernel takes, or take over what a reader before left attached.

    NotSupportedError without root or BTF, BusyError where another observer holds the instance, ProbeError where not even
    one hook in the kernel's code could be attached.
    """
    check_machine()
    notes = pins.mount_bpffs()
    folder, lock = pins.claim(options.instance)
    goes_on = (folder / "control").exists()
    loaded = Loaded(folder, lock, notes=notes)
    try:
        shared.adopt(loaded, options)
        same = loaded.taken_over and loaded.control.build == options.build
        former = [] if same else shared.pinned_sweeps(loaded.folder)
        folds = options.told[Folding].wanted
        loaded.folding = folds and _bring_sweeps(loaded, options, anew=not same)
        refused = folds and not loaded.folding
        chosen = options.unfolded if refused else options
        _bring_hooks(loaded, chosen, anew=not same)
        _require(loaded)
        attach.retire_strays(loaded, wanted((*HOOKS, *EXISTING), options.told))
        _bring_plain(loaded, options)
        if not machine.first("pid"):
            loaded.missing |= dict.fromkeys(("existing_processes", "existing_sockets"), _PIDS)
        shared.scope(loaded, options)
        _end_sweeps(loaded, former)
        if (beside := options.told[Network].translated) is not None:
            _hear_translations(loaded, beside)
        shared.take_control(loaded, options)
    except BaseException:
        loaded.forget() if goes_on else loaded.close()  # what a reader before left records on, for the next try
        raise
    return loaded


def check_machine() -> None:
    """NotSupportedError, saying what to do, where observing cannot work here."""
    if os.geteuid() != 0:
        raise NotSupportedError("observing needs root: it loads programs into the kernel; run it with sudo")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise NotSupportedError("no /sys/kernel/btf/vmlinux: this kernel was built without CONFIG_DEBUG_INFO_BTF")
    if tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) < (5, 17):
        raise NotSupportedError(f"kernel {os.uname().release}: 5.17 or later is needed (bpf_loop)")


def _bring_hooks(loaded: Loaded, options: LoadOptions, *, anew: bool) -> None:
    """Every hook by the first of its ways that this kernel takes; all are loaded before the first is attached."""
    hooks = wanted((*HOOKS, *EXISTING), options.told)
    standing = {} if anew else {hook.name: found for hook in hooks if (found := _standing(loaded, hook))}
    missing = [hook for hook in hooks if hook.name not in standing]
    with Programs(loaded, options) as programs:
        programs.prepare((hook, hook.programs[0]) for hook in missing)
        programs.prepare_spines(_unattached(loaded, programs, missing))
        watching.write(loaded, options.told[WatchedFiles].watched)
        for hook in hooks:
            if hook.name in standing:
                loaded.programs.append(standing[hook.name])
            else:
                _bring_hook(loaded, programs, hook)


def _standing(loaded: Loaded, hook: Hook) -> AttachedProgram | None:
    """What the same programs and settings have attached for a hook, by whichever of its ways."""
    return next((found for name in hook.programs if (found := attach.attached(loaded, hook, name))), None)


def _unattached(loaded: Loaded, programs: Programs, hooks: Sequence[Hook]) -> list[tuple[Hook, str]]:
    """First ways that are in the kernel and of which nothing is attached."""
    firsts = ((hook, hook.programs[0]) for hook in hooks if hook not in EXISTING)
    return [(hook, name) for hook, name in firsts if programs.has(name) and not attach.is_attached(loaded, name)]


def _bring_hook(loaded: Loaded, programs: Programs, hook: Hook) -> None:
    reasons = []
    for name in hook.programs:
        try:
            loaded.programs.append(_bring_program(loaded, programs, hook, name))
        except OSError as error:
            reasons.append(_reason(hook, name, error))
        else:
            attach.retire(loaded, set(hook.programs) - {name})
            return
    loaded.missing[hook.name] = "; ".join(reasons)


def _reason(hook: Hook, name: str, error: OSError) -> str:
    """Why a program of a hook is not there."""
    verdict = error.verdict if isinstance(error, RefusedError) else ""
    needed = "; CAP_NET_ADMIN is needed" if error.errno == errno.EPERM and name in hook.at_cgroup else ""
    return f"{name}: {error.strerror}{needed}" + (f" ({verdict})" if verdict else "")


def _bring_program(loaded: Loaded, programs: Programs, hook: Hook, name: str) -> AttachedProgram:
    program = programs.load(hook, name)
    if hook in (*EXISTING, *SWEEPS):
        return attach.iterator(loaded, hook, name, program)
    found = attach.attached(loaded, hook, name)
    if found is not None:
        attach.enter(loaded, name, program)
        return found
    if loaded.taken_over:
        loaded.interrupted.append(hook.name)
    return attach.spine(loaded, programs, hook, name)


def _require(loaded: Loaded) -> None:
    """At least one hook in the kernel's code: what stands at a cgroup alone tells the ends of what nobody saw begin."""
    if any(program.hook in HOOKS and program.name not in program.hook.at_cgroup for program in loaded.programs):
        return
    reasons = "; ".join(sorted(set(loaded.missing.values())))
    raise ProbeError(
        f"no hook could be attached: {reasons}. Is the kernel locked down, or CAP_BPF or CAP_PERFMON missing?"
    )


def _hear_translations(loaded: Loaded, namespaces: Sequence[str]) -> None:
    loaded.translations, notes, loaded.unheard = translation.listen(namespaces)
    if machine.apart() and not namespaces:
        loaded.unheard = _APART
    if loaded.unheard:
        notes.append(f"blind spot: {NETWORK} ({loaded.unheard})")
    loaded.notes += notes


def _bring_sweeps(loaded: Loaded, options: LoadOptions, *, anew: bool) -> bool:
    """Whether this kernel takes all sweeps: without them nothing may be withheld, and that is said."""
    standing = {} if anew else {hook.name: found for hook in SWEEPS if (found := _standing(loaded, hook))}
    with Programs(loaded, options) as programs:
        programs.prepare((hook, hook.name) for hook in SWEEPS if hook.name not in standing)
        for hook in SWEEPS:
            try:
                found = standing.get(hook.name) or _bring_program(loaded, programs, hook, hook.name)
            except OSError as error:
                _without_sweeps(loaded, hook, error)
                return False
            loaded.sweeps.append(found)
    return True


def _without_sweeps(loaded: Loaded, hook: Hook, error: OSError) -> None:
    verdict = error.verdict if isinstance(error, RefusedError) else ""
    loaded.refused = f"this kernel refuses {hook.name}: {verdict or error.strerror}"
    loaded.notes.append(f"{hook.blind_spot}: {loaded.refused}")
    for program in loaded.sweeps:
        os.close(program.link)
    loaded.sweeps = []


def _end_sweeps(loaded: Loaded, former: list[AttachedProgram]) -> None:
    """Have all written that the programs before withheld, in their way; where the ring is full, the reader goes on with it."""
    if not former:
        return
    sweeper = sweep.Sweeper(loaded.maps, [(program.name, program.link) for program in former])
    if sweeper.flush(lambda: None):
        loaded.unswept = True
        loaded.sweeps = [*former, *loaded.sweeps]
        return
    for program in former:
        os.close(program.link)
        if not loaded.folding:
            (loaded.folder / f"iterator_{program.name}").unlink(missing_ok=True)


def _bring_plain(loaded: Loaded, options: LoadOptions) -> None:
    """Uprobes in the libraries that a user names; attached anew each time, since libraries come and go."""
    pins.unpin(loaded.folder, f"link_{PLAIN.name}")
    libraries = options.told[Network].plaintext
    if not libraries:
        return
    with Programs(loaded, options) as programs:
        try:
            program = programs.load(PLAIN, PLAIN.name)
        except OSError as error:
            loaded.missing[PLAIN.name] = _reason(PLAIN, PLAIN.name, error)
            return
        links, refused = uprobe.attach(program, libraries, PLAIN_FUNCTIONS)
        for number, link in enumerate(links):
            pins.pin(link, loaded.folder / f"link_{PLAIN.name}_{number}")
            os.close(link)
        loaded.notes += refused
        if links:
            loaded.programs.append(
                AttachedProgram(PLAIN, PLAIN.name, os.dup(libbpf.call("bpf_program__fd", program)), -1)
            )
        else:
            loaded.missing[PLAIN.name] = "; ".join(refused)
