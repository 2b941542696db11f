"""A piece of a test run as another user, in a child of this very process: nothing has to be readable to it but what it looks at."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any


def as_user(uid: int, gid: int, run: Callable[[], Any], groups: tuple[int, ...] = ()) -> Any:
    """What `run` returns as that user, or the exception that it ends with. For root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            found: Any = run()
        except BaseException as error:
            found = error
        with os.fdopen(writing, "wb") as file:
            pickle.dump(found, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        told = file.read()
    os.waitpid(child, 0)
    return pickle.loads(told)
