"""Names that carry data: many long, random-looking ones of one domain, asked for by one pod (or network namespace).

A tunnel has to put what it sends into names that nobody asked for before, and text that was encoded looks unlike words, whatever
the encoding: pairs of letters that are frequent in words and host names are rare in it, and digits are many. So a name counts
where what stands before its domain (its last two labels) has at least LONG letters and digits, of whose neighbouring pairs at
most RARE are frequent ones. MANY different such names of one domain within WINDOW seconds are marked. A tunnel that is slower,
or that writes words, is not seen by this.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from firsthand.dissect.frame import LIMITS

LONG = 30
RARE = 0.4
MANY = 20
WINDOW = 600.0
#: Domains of one pod each that are watched at once; the one that was quiet for the longest goes.
DOMAINS = LIMITS["tunnels"]
#: The frequent pairs of English text (Norvig, English Letter Frequency Counts, 2013: those of 0.4% and more), and of host names.
_FREQUENT = frozenset(
    """
    th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri
    ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut
    ss so rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi
    ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke ui fr oo ag rc ap sp cl bo da od by ck do ep im
    ub ks db ip go ws vc sv ey gi gr kr ru sc up bu pu lu if cu cr ga gu va
    """.split()  # noqa: SIM905
)
_REVERSE = ".arpa"  # names of addresses are long and made of digits


@dataclass
class _Watched:
    """Hashes of the different names that counted since `since` (seconds)."""

    since: float
    names: set[int] = field(default_factory=set)


class Tunnels:
    """Which domains data is carried to, by pod. Bounded: DOMAINS times MANY hashes."""

    def __init__(self) -> None:
        self._watched: OrderedDict[tuple[str, str], _Watched] = OrderedDict()

    def __len__(self) -> int:
        return len(self._watched)

    def asked(self, who: str, name: str, now: float) -> str | None:
        """A question of `who` at `now` (seconds): why it is marked, or None."""
        domain = domain_of(name)
        if domain is None or not is_random(name[: -len(domain) - 1]):
            return None
        key = (who, domain)
        one = self._watched.get(key)
        if one is None or now - one.since > WINDOW:
            one = self._watched[key] = _Watched(now)
        self._watched.move_to_end(key)
        if len(one.names) < MANY:
            one.names.add(hash(name))
        while len(self._watched) > DOMAINS:
            self._watched.popitem(last=False)
        return self.why(who, name, now)

    def why(self, who: str, name: str, now: float) -> str | None:
        """Why a name of such a domain is marked, or None; it counts for nothing."""
        domain = domain_of(name)
        one = self._watched.get((who, domain)) if domain else None
        if one is None or len(one.names) < MANY or now - one.since > WINDOW:
            return None
        return (
            f"at least {MANY} different names of {domain} within {WINDOW / 60:g} minutes, each with {LONG} or more "
            "random-looking characters"
        )


def domain_of(name: str) -> str | None:
    """The last two labels; None for a name that has no more, and for those of addresses."""
    labels = name.rsplit(".", 2)
    return f"{labels[1]}.{labels[2]}" if len(labels) == 3 and not name.endswith(_REVERSE) else None


def is_random(text: str) -> bool:
    """Whether what stands before a domain is long and looks encoded."""
    if len(text) < LONG or sum(map(str.isalnum, text)) < LONG:
        return False
    pairs = [text[i : i + 2] for i in range(len(text) - 1) if text[i : i + 2].isalnum()]
    return sum(pair in _FREQUENT for pair in pairs) <= RARE * len(pairs)
