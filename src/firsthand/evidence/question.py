"""What a bundle was asked for, resolved so that anybody can ask it again without the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.ask.answer import Chosen, Filters, Window, iso
from firsthand.errors import DamagedError

_TEXTS = ("namespace", "pod", "node", "selector")
#: A row of many that folded spans twice `folding.every_seconds` at most, and that is an hour at most; in microseconds.
FOLD = 2 * 3600 * 1_000_000
_LISTS = ("arguments", "pods", "containers")


@dataclass(frozen=True)
class BundleQuestion:
    """Times in microseconds since 1970, both included; None: everything.

    `pods` (uids) and `containers` (ids) are what the label selector chose in the whole history. `arguments` as typed.
    """

    since: int
    until: int
    namespace: str | None = None
    pod: str | None = None
    node: str | None = None
    selector: str | None = None
    pods: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    @property
    def window(self) -> Window:
        """Its time as `ask` takes it."""
        return Window(_moment(self.since), _moment(self.until))

    @property
    def filters(self) -> Filters:
        """Its conditions as `ask` takes them."""
        chosen = Chosen(list(self.pods), list(self.containers)) if self.selector is not None else None
        return Filters(self.namespace, self.pod, chosen, self.node)

    def takes(self, rows: pa.Table) -> Any:
        """For each row whether it is asked for, by its time and by whose it is; of many that folded, whether any is."""
        inside = within(rows["time"], self.since, self.until)
        if "folded_until" in rows.column_names:
            reaches_in = within(rows["folded_until"], self.since, self.until + FOLD)
            inside = pc.or_(inside, pc.and_(within(rows["time"], self.since - FOLD, self.since), reaches_in))
        return pc.and_(inside, self.concerns(rows))

    def concerns(self, rows: pa.Table) -> Any:
        """For each row whether it is of those that are asked for, whenever it happened."""
        mask: Any = pa.chunked_array([pa.repeat(True, rows.num_rows)])
        for name in ("namespace", "node"):
            if (value := getattr(self, name)) is not None:
                mask = pc.and_(mask, among(rows, (name,), [value]))
        if self.pod is not None:
            mask = pc.and_(mask, among(rows, ("pod", "pod_uid"), [self.pod]))
        if self.selector is not None:
            of_pods, others = among(rows, ("pod_uid",), self.pods), among(rows, ("container",), self.containers)
            mask = pc.and_(mask, pc.or_(of_pods, others))
        return mask

    def plain(self) -> dict[str, Any]:
        """As JSON, the times in words as well."""
        words = {"since_utc": iso(self.window.since), "until_utc": iso(self.window.until)}
        return asdict(self) | words

    @classmethod
    def parse(cls, raw: Any) -> BundleQuestion:
        """From JSON. DamagedError where it is none."""
        try:
            texts: dict[str, Any] = {name: _of(raw[name], (str, type(None))) for name in _TEXTS}
            lists: dict[str, Any] = {
                name: tuple(_of(item, (str,)) for item in _of(raw[name], (list,))) for name in _LISTS
            }
            found = cls(_of(raw["since"], (int,)), _of(raw["until"], (int,)), **texts, **lists)
            _ = found.window
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(f"bundle.json: its question is unreadable: {error!r}") from error
        return found


def _of(value: Any, types: tuple[type, ...]) -> Any:
    if type(value) not in types:
        raise TypeError(f"expected {' or '.join(kind.__name__ for kind in types)}, found {type(value).__name__}")
    return value


def within(times: Any, since: int, until: int) -> Any:
    """For each time whether it lies between two (microseconds), both included; a missing one does not."""
    numbers = times.cast(pa.int64())
    return pc.fill_null(pc.and_(pc.greater_equal(numbers, since), pc.less_equal(numbers, until)), False)


def among(rows: pa.Table, names: Sequence[str], values: Sequence[str] | Any) -> Any:
    """For each row whether one of these columns holds one of the values."""
    wanted = pa.array(values, pa.string())
    found: Any = pa.chunked_array([pa.repeat(False, rows.num_rows)])
    for name in names:
        if name in rows.column_names:
            column = rows[name]
            found = pc.or_(found, pc.and_(pc.is_valid(column), pc.is_in(column, wanted)))
    return found


def _moment(micro: int) -> datetime:
    return datetime.fromtimestamp(micro / 1_000_000, UTC)
