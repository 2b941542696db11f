"""Counters that the kernel side keeps: produced records, failures by cause, recursion misses, program time."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from firsthand.host import boottime
from firsthand.probe import libbpf, pins
from firsthand.probe.loaded import Loaded
from firsthand.schema import layout

#: BPF_MAP_TYPE_HASH, enum bpf_map_type; bytes of keys and values that are read at once.
_HASH, _BATCH_BYTES = 1, 1 << 19
#: Bytes from `first` and from `told`, its last member, to the end of struct flow (kernel/include/maps.h).
FLOW_FIRST, FLOW_TOLD = 72, 2
#: Nanoseconds after which an attempt without a row has ended and its program did not run.
FORGOTTEN = 60 * 10**9
_STATS_RUN_TIME = 0  # enum bpf_stats_type, include/uapi/linux/bpf.h


@dataclass(frozen=True)
class ProgramStats:
    """From struct bpf_prog_info: run_time_ns and run_cnt count only while statistics are enabled."""

    name: str
    run_time: int
    runs: int
    recursion_misses: int


def per_cpu(fd: int, index: int) -> list[int]:
    """One element of a per-CPU array of __u64, a value for each possible CPU."""
    cpus = libbpf.call("libbpf_num_possible_cpus")
    values = ctypes.create_string_buffer(8 * cpus)
    libbpf.call("bpf_map_lookup_elem", fd, struct.pack("<I", index), values)
    return list(struct.unpack(f"<{cpus}Q", values.raw))


def produced(loaded: Loaded, ring: int = 0) -> list[int]:
    """Sequence numbers taken so far, by CPU: recorded plus lost."""
    return per_cpu(loaded.maps["produced"], ring)


def failures(loaded: Loaded, names: Mapping[str, int]) -> dict[str, int]:
    """Counts by cause (enum failure, without its prefix, in small letters)."""
    fd = loaded.maps["failures"]
    return {name.lower(): sum(per_cpu(fd, number)) for name, number in names.items() if name != "COUNT"}


def subject_failures(loaded: Loaded) -> dict[str, dict[str, int]]:
    """Counts by subject and cause, of the maps SUBJECT_failures."""
    found = {}
    for subject, words in layout.installed().failures.items():
        fd = loaded.maps.get(f"{subject}_failures")
        if fd is not None:  # else this kernel refuses all of its programs
            found[subject] = {word: sum(per_cpu(fd, place)) for word, place in words.items()}
    return found


def entries(fd: int) -> int:
    """How many entries a hash map has now, some 100 ns each. OSError where the kernel refuses."""
    return sum(count for count, _, _ in _batches(fd))


@dataclass(frozen=True)
class Flood:
    """Whose records a ring that was nearly full did not take (kernel/include/flood.h): a program of a parent in a cgroup; `comm` as
    task->comm, up to 15 bytes. `held_back`: how many, ever; `last`: when, bpf_ktime_get_boot_ns."""

    cgroup: int
    parent: int
    ring: int
    comm: bytes
    held_back: int
    last: int


_FLOOD_KEY, _FLOOD = struct.Struct("<QiI16s"), struct.Struct("<5Q")


def floods(loaded: Loaded) -> list[Flood]:
    """All of whom records were held back, as far as the map has them. OSError if the kernel refuses."""
    found = []
    if "floods" in loaded.maps:
        for count, keys, values in _batches(loaded.maps["floods"]):
            for place in range(count):
                cgroup, parent, ring, comm = _FLOOD_KEY.unpack_from(keys, place * _FLOOD_KEY.size)
                _, _, held_back, _, last = _FLOOD.unpack_from(values, place * _FLOOD.size)
                if held_back:
                    found.append(Flood(cgroup, parent, ring, comm.partition(b"\0")[0], held_back, last))
    return found


_Buffer = ctypes.Array[ctypes.c_char]


def _batches(fd: int) -> Iterator[tuple[int, _Buffer, _Buffer]]:
    """How many entries each batch of a hash map has, and buffers with their keys and values one behind another, used again for the next."""
    found = pins.info(fd)
    most = max(64, _BATCH_BYTES // (found.key_size + found.value_size))
    keys, values = (ctypes.create_string_buffer(most * size) for size in (found.key_size, found.value_size))
    place, count = ctypes.create_string_buffer(max(found.key_size, 8)), ctypes.c_uint32()
    before = None
    try:
        while True:
            count.value = most
            libbpf.call("bpf_map_lookup_batch", fd, before, place, keys, values, ctypes.byref(count), None)
            yield count.value, keys, values
            before = place
    except FileNotFoundError:  # its end: what this call found counts (Linux, kernel/bpf/hashtab.c)
        yield count.value, keys, values


def untold(loaded: Loaded) -> int | None:
    """When the first of the flows of datagrams and attempts to connect began that have no row yet: bpf_ktime_get_boot_ns; 0 if that is not
    known; None if each has one, or none are counted. OSError if the kernel refuses.
    """
    found = [*_flows(loaded), *_attempts(loaded)]
    return min(found, default=None)


def _attempts(loaded: Loaded) -> list[int]:
    """TCP's (the map `attempts`). The end of one that is older than FORGOTTEN was missed, which is a row of `loss`."""
    import numpy as np

    if "attempts" not in loaded.maps:
        return []
    found, number, oldest = list[int](), 0, boottime.now_ns() - FORGOTTEN
    for count, _, values in _batches(loaded.maps["attempts"]):
        began = np.frombuffer(memoryview(values), dtype="<u8", count=count)
        number += count
        found += [int(began.min())] if (began := began[began > oldest]).size else []
    return [0] if number >= pins.info(loaded.maps["attempts"]).max_entries else found


def _flows(loaded: Loaded) -> list[int]:
    """Of datagrams. `first` and `told` stand at these places before the end of struct flow (kernel/include/maps.h)."""
    import numpy as np

    if "flows" not in loaded.maps:
        return []
    size, found = pins.info(loaded.maps["flows"]).value_size, list[int]()
    for count, _, values in _batches(loaded.maps["flows"]):
        rows = np.frombuffer(memoryview(values), dtype=np.uint8, count=count * size).reshape(count, size)
        tails = np.ascontiguousarray(rows[:, size - FLOW_FIRST :])
        begun = tails[:, :8].copy().view("<u8")[:, 0][tails[:, -FLOW_TOLD:].copy().view("<u2")[:, 0] == 0]
        found += [int(begun.min())] if len(begun) else []
    return found


def tables(loaded: Loaded) -> dict[str, tuple[int, int]]:
    """Entries and limit of each hash map that is shared, by its name."""
    infos = {name: pins.info(fd) for name, fd in loaded.maps.items()}
    return {name: (entries(loaded.maps[name]), info.max_entries) for name, info in infos.items() if info.type == _HASH}


def programs(loaded: Loaded) -> list[ProgramStats]:
    """Statistics of each attached program; offsets are those of struct bpf_prog_info (Linux 5.12 and later)."""
    return [_program(program.name, program.fd) for program in loaded.programs if program.fd >= 0]


def _program(name: str, fd: int) -> ProgramStats:
    return ProgramStats(name, *struct.unpack_from("<QQQ", _info(fd), 192))


def verified(fd: int) -> int:
    """Instructions that the kernel's verifier looked at before it took a program (Linux 5.16 and later)."""
    return int(struct.unpack_from("<I", _info(fd), 216)[0])


def _info(fd: int) -> bytes:
    """struct bpf_prog_info of include/uapi/linux/bpf.h."""
    info = ctypes.create_string_buffer(224)
    size = ctypes.c_uint32(len(info))
    libbpf.call("bpf_obj_get_info_by_fd", fd, info, ctypes.byref(size))
    return info.raw


def enable() -> int:
    """Have the kernel measure run times until the returned descriptor is closed."""
    return libbpf.call("bpf_enable_stats", _STATS_RUN_TIME)


def disable(fd: int) -> None:
    """Stop measuring."""
    os.close(fd)
