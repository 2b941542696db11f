"""Users of containers by name, as the containers' own files say (identity/users.py): what a question makes of it."""

from __future__ import annotations

import pwd
from collections.abc import Iterable

from firsthand.ask import predicate
from firsthand.ask.answer import Asked, plural
from firsthand.ask.predicate import UNKNOWN_USER, Test

#: The newest word of each container: node, container and `own_users`, UID=NAME.
OWN = """SELECT node AS own_node, container AS own_container, arg_max(users, time) AS own_users FROM container
    WHERE users IS NOT NULL GROUP BY node, container"""


def check(asked: Asked, tests: Iterable[Test]) -> None:
    """UsageError for a name that neither this machine nor any container of the history knows."""
    for test in tests:
        if not test.named or test.value != UNKNOWN_USER:
            continue
        rows = asked.rows("SELECT DISTINCT unnest(users) AS u FROM container WHERE users IS NOT NULL", [])
        said = {row["u"].partition("=")[2] for row in rows}
        if test.word not in said:
            raise predicate.nobody(test.name, test.word, "user", [*said, *(one.pw_name for one in pwd.getpwall())])


def reason(number: int) -> list[str]:
    """Why an answer that uses the containers' own user names is not complete: they are not proven."""
    which = f"{plural(number, 'program')} {'was' if number == 1 else 'were'}"
    return (
        [f"{which} judged by their containers' own /etc/passwd, which says what the container wants"] if number else []
    )
