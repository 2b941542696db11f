"""Verifying a bundle without the history: each file, the chain, that each row stands in its source, and that no other was asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from firsthand.errors import DamagedError
from firsthand.evidence import archive, documents
from firsthand.evidence.archive import Archive
from firsthand.evidence.comparing import Comparison
from firsthand.evidence.documents import About, Origin
from firsthand.evidence.sources import of_segment
from firsthand.evidence.verdict import BundleVerdict
from firsthand.history.store import chain, segment, verify
from firsthand.history.store.chain import Entry, Head
from firsthand.schema.tables import KEPT

_DATE = re.compile(r"([a-z_]+)/date=(\d{4}-\d\d-\d\d)/")
_DAY = 86_400_000_000


def check(path: Path, known: Sequence[Head] = (), digest: str | None = None) -> BundleVerdict:
    """Read everything once, unpacking nothing. `known` are heads from outside, `digest` what was printed when it was made.

    HistoryError where the file cannot be read, DamagedError where it is no bundle or has what no bundle has.
    """
    with Archive(path) as bundle:
        return _Checker(bundle).check(known, digest)


class _Checker:
    def __init__(self, bundle: Archive) -> None:
        self.bundle = bundle
        self.found = BundleVerdict()

    def check(self, known: Sequence[Head], digest: str | None) -> BundleVerdict:
        """All of it, as far as what was found allows."""
        self._files(digest)
        try:
            about, origins = documents.read_about(self.bundle), documents.read_origins(self.bundle)
            entries = documents.read_chain(self.bundle)
        except DamagedError as error:
            self.found.damage.append(str(error))
            return self.found
        self.found.question = about.question.plain()
        self._chain(about, entries, known)
        self._origins(about, origins, entries)
        self._layouts()
        compared = Comparison(self.bundle, about, origins, self.found)
        compared.rows()
        compared.record()
        return self.found

    def _files(self, digest: str | None) -> None:
        found = self.found
        found.digest = self.bundle.sha256(archive.SUMS)
        if digest is not None and digest != found.digest:
            found.damage.append(
                f"the bundle's digest is {found.digest}, not {digest}: it is another bundle, or was changed"
            )
        try:
            told = documents.read_sums(self.bundle)
        except DamagedError as error:
            found.damage.append(str(error))
            return
        members = self.bundle.members.keys() - {archive.SUMS}
        found.files = len(members)
        found.damage += [f"{name}: it is missing" for name in sorted(told.keys() - members)]
        found.damage += [f"{name}: SHA256SUMS does not name it" for name in sorted(members - told.keys())]
        for name in sorted(members & told.keys()):
            if self.bundle.sha256(name) != told[name]:
                found.damage.append(f"{name}: it was changed: its SHA-256 is not that of SHA256SUMS")

    def _chain(self, about: About, entries: Sequence[Entry], known: Sequence[Head]) -> None:
        found = self.found
        self.held = verify.replay(entries, found.damage)
        if entries:
            found.first = entries[0].sequence
            found.head = Head(entries[-1].sequence, entries[-1].hash)
        if about.head != (str(found.head) if entries else None):
            found.damage.append(
                f"chain.jsonl: it ends with {found.head}, and bundle.json names {about.head}: it was cut or changed"
            )
        by_number = {entry.sequence: entry.hash for entry in entries}
        for head in known:
            self._head(head, by_number)
        own = chain.heads_in(self._document(archive.HEADS))
        strange = sum(by_number.get(head.sequence) != head.hash for head in own)
        if strange:
            found.unproven.append(
                f"that the chain is the one that was published: {strange:,} of the {len(own):,} heads in {archive.HEADS} are another "
                "history's of that machine, or the chain was rewritten"
            )

    def _head(self, head: Head, by_number: dict[int, str]) -> None:
        found = self.found
        if by_number.get(head.sequence) == head.hash:
            found.proven = max(found.proven, head.sequence)
        elif head.sequence in by_number:
            found.damage.append(f"the chain was rewritten: entry {head.sequence} is not the one that was published")

    def _document(self, name: str) -> str:
        try:
            return self.bundle.read(name).decode("utf-8", "replace")
        except DamagedError as error:
            self.found.damage.append(str(error))
            return ""

    def _origins(self, about: About, origins: Sequence[Origin], entries: Sequence[Entry]) -> None:
        """Each source by its name, its hash and its entry; and which segments of these days are not here."""
        found = self.found
        brought = {entry.sequence: _brought(entry) for entry in entries}
        names = [one.name for one in origins]
        if sorted(set(names)) != names:
            found.damage.append("sources.json: a source stands there twice, or out of order")
        for one in origins:
            self._origin(one, brought, about.segments)
        listed = {name for name in self.bundle.members if name.startswith(("segments/", "chunks/"))}
        found.damage += [f"{name}: sources.json does not name it" for name in sorted(listed - set(names))]
        self._left_out(about, {one.sha256 for one in origins})
        handed = max((entry.time for entry in entries if entry.kind == "hand_over"), default=None)
        if handed is not None and handed < about.question.until:
            found.unproven.append(
                "that nothing of the log was left out: the chain's last hand-over was before the window's end; make the bundle later"
            )
        self._unproven(about, origins, entries)

    def _origin(self, one: Origin, brought: dict[int, verify.Held], segments: bool) -> None:
        found = self.found
        if one.kind == "chunk":
            found.chunks += 1
        else:
            found.segments += 1
            entry = brought.get(one.entry, {}) if one.entry is not None else {}
            if one.name != of_segment(one.table or "", one.sha256) or _table(one.path or "") != one.table:
                found.damage.append(f"{one.name}: its name is not that of {one.path}")
            if entry.get(one.path or "") != (one.sha256, one.rows):
                found.damage.append(
                    f"{one.name}: no entry of the chain names {one.path} with this hash and {one.rows} rows"
                )
        if segments and one.name not in self.bundle.members:
            found.damage.append(f"{one.name}: it is missing")
        elif segments and self.bundle.sha256(one.name) != one.sha256:
            found.damage.append(f"{one.name}: it was changed: its SHA-256 is not the one that its history recorded")

    def _left_out(self, about: About, here: set[str]) -> None:
        """That nothing was left out, only the segments of the window's days can show, and only where all are here."""
        question = about.question
        first, last = (segment.date_of(moment // _DAY) for moment in (question.since, question.until))
        absent = [
            path
            for path, (sha256, _) in self.held.items()
            if (found := _DATE.match(path)) and found[1] in KEPT and first <= found[2] <= last and sha256 not in here
        ]
        if absent:
            self.found.unproven.append(
                f"that nothing was left out: of the days from {first} to {last} the chain holds {len(absent):,} more segments, which are "
                "not here because no row of theirs was asked for (--whole-days brings them)"
            )

    def _unproven(self, about: About, origins: Sequence[Origin], entries: Sequence[Entry]) -> None:
        found = self.found
        chunks = sum(one.kind == "chunk" for one in origins)
        late = sum(one.kind == "segment" and (one.entry or 0) > found.proven for one in origins)
        if not about.segments:
            found.unproven.append(
                "that the rows stand in their segments as they stand here: the segments are not here (--rows-only)"
            )
        if chunks:
            found.unproven.append(
                f"the rows of {chunks:,} chunks of the log: no entry names them yet, and they are proven by checksums alone"
            )
        if not entries:
            found.unproven.append("everything: the history had no chain")
        elif not found.proven:
            found.unproven.append(
                "the chain: no head from outside was given that is one of its entries (--head, --heads)"
            )
        elif late:
            found.unproven.append(
                f"{late:,} of {found.segments:,} segments: they came behind entry {found.proven:,}, the last proven one"
            )

    def _layouts(self) -> None:
        for name in self.bundle.members:
            if name.startswith("layouts/") and self.bundle.sha256(name) != name[len("layouts/") : -len(".json")]:
                self.found.damage.append(f"{name}: it was changed: its SHA-256 is not its name")


def _brought(entry: Entry) -> verify.Held:
    try:
        return verify.segments_of(entry)
    except verify.UNREADABLE:
        return {}


def _table(path: str) -> str | None:
    found = _DATE.match(path)
    return found[1] if found else None
