"""Places in the kernel side's structures that Python reads, against the BTF of the objects."""

from __future__ import annotations

from firsthand.probe import stats
from firsthand.schema import btf, layout


def test_a_flow_ends_with_what_is_read_of_it() -> None:
    """`first` is a __u64, `told` the last member, a __u16; nothing stands behind it."""
    for path in layout.objects():
        found = btf.read_object(path)
        flow = found.named(btf.STRUCT, "flow")
        if flow is not None:
            places = {name: offset for name, _, offset in found.members(flow)}
            assert flow.value - places["first"] == stats.FLOW_FIRST
            assert flow.value - places["told"] == stats.FLOW_TOLD
            return
    raise AssertionError("no object has struct flow")
