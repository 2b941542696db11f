"""Rows on their way to the log: values that need the whole stream are added, secrets removed, packets replaced by their content.

What is done with a table's rows follows from the roles that its subject gives to columns (subjects/declare.py), and from the columns that
its records carry: `cgroup_id` says in which container it was, and a record with `cgroup_path` tells what cgroups there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.identity.resolve import Resolver
from firsthand.identity.resolved import Resolved
from firsthand.observe.canaries import Canaries
from firsthand.observe.options import ObserverOptions
from firsthand.observe.packets import Packets
from firsthand.subjects import registry
from firsthand.subjects.declare import ANSWERS, FOLD, IMAGE, NAMED, OWNER, ROLES, SECRET, TRANSLATED
from firsthand.wire.batch import Batch, Fixed, Lists, Text, spread
from firsthand.wire.clock import Clock
from firsthand.wire.decode import Decoder
from firsthand.wire.redact import Pattern, Redactor, compile_redactor, redact_texts
from firsthand.wire.scoped import ScopedModes
from firsthand.wire.translation import Translations

#: Images whose binary is kept known after their end: a child's withheld fork may still come.
LATE = 16384
#: The tables that have a column with each role.
_HAVING = {role: frozenset(registry.having(role)) for role in ROLES}


class Completion:
    """What is known of all rows so far. `decoder` and `translations` are the kernel side's, set before the first row comes.

    `folded` counts, by table, what rows that stand for many stand for.
    """

    decoder: Decoder
    translations: Translations

    def __init__(
        self, options: ObserverOptions, names: tuple[str, str], clock: Clock, canaries: Canaries, packets: Packets
    ) -> None:
        self.node, self.boot = names
        self.clock, self.canaries, self.packets = clock, canaries, packets
        self.resolver = Resolver(late=LATE)
        self.resolved = Resolved()
        self.redactor = _redactor(options)
        self.modes = ScopedModes(dict(options.redaction.scopes), options.redaction.mode)
        self.folded = dict.fromkeys(registry.having(FOLD), 0)

    def complete(self, batches: list[Batch]) -> list[Batch]:
        """Everything that was taken at once, whole, in the order in which it is written."""
        self.translations.hear()  # told before the connection is established, so before any row that is here
        for batch in batches:
            if "cgroup_path" in batch.columns:
                self.resolver.cgroups.learn(batch)
        found = [self._placed(batch) for batch in sorted(batches, key=_order)]
        self.resolver.binaries([batch for batch in found if _has(batch, IMAGE)])
        for batch in found:
            self._owned(batch)
        return self._read([batch for batch in found if batch.length])

    def late(self, *, last: bool = False) -> list[Batch]:
        """Rows of packets whose rest did not come."""
        return self._read(self._told(self.packets.late(last=last)))

    def _read(self, batches: list[Batch]) -> list[Batch]:
        """Packets replaced by what they say, and connections with the names that they are known by."""
        found = [one for batch in batches for one in self._unpacked(batch)]
        for batch in found:
            if _has(batch, ANSWERS):
                self.resolved.learn(batch)
        for batch in found:
            if _has(batch, NAMED):
                self.resolved.fill(batch)
        return found

    def _unpacked(self, batch: Batch) -> list[Batch]:
        return [batch] if batch.table != "packet" else self._told(self.packets.read(batch))

    def _told(self, batches: list[Batch]) -> list[Batch]:
        """The dissector's rows, redacted."""
        for batch in batches:
            self._redact(batch)
        return batches

    def _placed(self, batch: Batch) -> Batch:
        """With its time and its container, once all cgroups are learned; without canaries."""
        batch = self.canaries.take(batch, self.decoder)
        columns: dict[str, Any] = batch.columns
        columns["time"] = Fixed(self.clock.times(columns["ktime"].values))
        for name in registry.TABLES[batch.table].having(FOLD):
            if name in columns:
                self._fold(batch.table, columns, name)
        if "exec_tgid" in columns:
            columns["pid"] = columns["exec_tgid"]
        self._stamp(batch)
        if "cgroup_id" in columns:
            self.resolver.containers(batch)
        return batch

    def _owned(self, batch: Batch) -> None:
        """What takes the binaries of all processes to be known, and the secrets out of arguments."""
        if _has(batch, IMAGE):
            _only_containers_are_entered(batch.columns, self.decoder)
        if _has(batch, OWNER):
            self.resolver.owners(batch)
        if _has(batch, TRANSLATED):
            self.translations.fill(batch)
        self._redact(batch)

    def _redact(self, batch: Batch) -> None:
        """Secrets out of the columns that may hold some; those of a dissector's rows when it has told them."""
        if not _has(batch, SECRET):
            return
        columns: dict[str, Any] = batch.columns
        secret = [name for name in registry.TABLES[batch.table].having(SECRET) if name in columns]
        if not secret:
            return
        modes = self._modes(columns)
        for name in secret:  # what is not UTF-8 is kept as it is, too
            if (original := f"{name}_bytes") in columns:
                columns[original] = self.redactor.apply_text(columns[original], modes).column
        if isinstance(columns[secret[0]], Lists):
            _redact_list(columns, secret[0], self.redactor, modes)
        else:
            redact_texts(batch, secret, self.redactor, modes)

    def _fold(self, table: str, columns: dict[str, Any], name: str) -> None:
        """When the last one of each fold began; and how many there were in all."""
        last: Fixed = columns[name]
        columns["folded_until"] = Fixed(self.clock.times(last.values), last.valid)
        counts: Fixed = columns["folded_count"]
        self.folded[table] += int(counts.values.sum() if counts.valid is None else counts.values[counts.valid].sum())

    def _modes(self, columns: dict[str, Any]) -> NDArray[np.int8] | None:
        """How each row's arguments are kept, where that differs between cgroups."""
        if not self.modes:
            return None
        return self.modes.rows(columns["cgroup_id"].values, lambda key: self.resolver.cgroups.words(key)[1])

    def _stamp(self, batch: Batch) -> None:
        rows = np.zeros(batch.length, dtype=np.int64)
        for name, word in (("node", self.node.encode()), ("boot", self.boot.encode())):
            batch.columns[name] = spread(rows, np.array([word]), np.array([len(word)], dtype=np.int32))


def _has(batch: Batch, role: str) -> bool:
    """Whether the batch's table has a column with a role."""
    return batch.table in _HAVING[role]


def _order(batch: Batch) -> int:
    """Cgroups are learned first, then binaries: what comes behind names both."""
    if "cgroup_path" in batch.columns:
        return 0
    return 1 if _has(batch, IMAGE) else 2


def _redactor(options: ObserverOptions) -> Redactor:
    patterns = [Pattern(name, expression) for name, expression in sorted(options.redaction.patterns.items())]
    return compile_redactor(patterns, options.redaction.mode, options.redaction.key.encode() or None, options.programs)


def _only_containers_are_entered(columns: dict[str, Any], decoder: Decoder) -> None:
    """The host has no inside to be brought into: the flags ENTERED and RUNTIME stay on container rows only."""
    words = decoder.layout.enums["process_flag"]
    bit = words["ENTERED"] | words["RUNTIME"]
    flags: Fixed = columns["flags"]
    container: Text = columns["container"]
    host = np.zeros(len(flags.values), dtype=bool) if container.valid is None else ~container.valid
    cleared = host & ((flags.values & bit) != 0)
    if cleared.any():
        flags.values[cleared] &= ~bit
        columns["flag_names"] = decoder.flag_names(flags, "process_flag")


def _redact_list(columns: dict[str, Any], name: str, redactor: Redactor, modes: NDArray[np.int8] | None) -> None:
    found: Lists = columns[name]
    done = redactor.apply(found, modes)
    columns[name] = done.args
    columns["redacted"] = Fixed(done.redacted.astype(np.uint8), found.valid)
    columns["redaction"] = done.patterns
