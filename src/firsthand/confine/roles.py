"""The one table of roles: module, user, rights, and files of each process of ours.

The supervisor, the wall, the history's locks and folders, and `deploy/` use this table. SECURITY.md gives the reason for each right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firsthand.confine import seccomp
from firsthand.confine.seccomp import Filter

#: The group of those who may read, where the installation made none; the roles' own numbers follow it.
FIRST_NUMBER = 4_242_420
#: glibc (mallopt(3)): a batch's columns come from memory that is in use already and not from fresh pages, each of which costs
#: a fault. Variables that are set already are kept.
LARGE = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}
#: gRPC's older poller takes a third less of the processor than its event engine for a few messages a second; one arena for all
#: threads, and no threads of a linear algebra that nobody needs, keep a process small.
SMALL = {
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_for_all_other_endpoints,-event_engine_callback_cq",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Role:
    """One process.

    module: what it runs. number: its user and own group, where no installation named others; never changed, since histories stay; None:
    it stays root's. capabilities: of capabilities(7), in lower case, without cap_. filter: of system calls. reads: whether it gets at the
    history. writes: folders of a history that it owns. lock: the file in a history that it holds while it runs; its sign of life is
    beside it. nice: its share of the processors, as rights.prefer takes it. spared: False for what the kernel is to end first when memory is
    short. allocator: variables of its environment.
    """

    module: str
    number: int | None = None
    capabilities: tuple[str, ...] = ()
    filter: Filter | None = None
    reads: bool = True
    writes: tuple[str, ...] = ()
    lock: str | None = None
    nice: int = 0
    spared: bool = True
    allocator: Mapping[str, str] = field(default_factory=lambda: LARGE)


ROLES: dict[str, Role] = {
    # Loads and attaches (bpf, perfmon; net_admin at a cgroup's sockets), pins and mounts the BPF filesystem (sys_admin, which
    # older kernels ask for BTF by id too).
    "loader": Role("firsthand.roles.loader", capabilities=("bpf", "perfmon", "net_admin", "sys_admin")),
    # A storm of processes must not starve who records it: the rings hold a second of it.
    "observer": Role(
        "firsthand.roles.observer",
        FIRST_NUMBER + 2,
        filter=seccomp.OBSERVER,
        writes=("log", "schema"),
        lock="log/lock",
        nice=-20,
    ),
    # It owns the history itself, too, and removes logs.
    "keeper": Role(
        "firsthand.roles.keeper",
        FIRST_NUMBER + 3,
        filter=seccomp.KEEPER,
        writes=("generations", "damaged"),
        lock="keeper.lock",
        nice=10,
    ),
    # The observer waits for its answers, two seconds at most: on a saturated machine it must come to its turn. It reads what others
    # wrote: it gets at nothing but the line to the observer, and closes itself up further (roles/dissector.py).
    "dissector": Role(
        "firsthand.roles.dissector", FIRST_NUMBER + 4, filter=seccomp.DISSECTOR, reads=False, nice=-10, allocator=SMALL
    ),
    # The runtimes' sockets are root's.
    "follower": Role(
        "firsthand.roles.follower", filter=seccomp.FOLLOWER, writes=("names",), lock="names/lock", allocator=SMALL
    ),
    # Reads any file (dac_read_search), and asks the kernel which of its pages are cached (fowner: can_do_mincore of mm/mincore.c). Its filter takes
    # away what these rights could change. It reports through the socket to the observer and gets at no history.
    "checker": Role(
        "firsthand.roles.checker",
        FIRST_NUMBER + 7,
        capabilities=("dac_read_search", "fowner"),
        filter=seccomp.CHECKER,
        reads=False,
        nice=10,
        allocator=SMALL,
    ),
    # Accepts on a socket that it was given, and reads. What it does not answer is read by whoever asks.
    "reader": Role("firsthand.roles.reader", FIRST_NUMBER + 6, filter=seccomp.READER, spared=False),
}
#: What each role writes in a history: folder and owner.
OWNERS = {folder: role for role, row in ROLES.items() for folder in row.writes}
#: In a history, held by the supervisor: root's.
RUN_LOCK = "run.lock"
#: Lock files of a history, and the role that holds each.
LOCKS = {RUN_LOCK: "supervisor"} | {row.lock: role for role, row in ROLES.items() if row.lock}
