"""Runs inside a test's cgroup and network namespace: does what it is told, line by line, and answers.

A line is a JSON string of Python statements; the answer is a JSON list of `true` and the last expression's value, or of `false`,
the exception's name and its text.
"""

import ast
import json
import os
import socket
import struct
import sys

SO_COOKIE = 57


def cookie(made: socket.socket) -> int:
    """A socket's number, as long as the machine runs."""
    return struct.unpack("Q", made.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]


def main() -> None:
    known = {"os": os, "socket": socket, "struct": struct, "cookie": cookie}
    for line in sys.stdin:
        try:
            answer = [True, told(json.loads(line), known)]
        except Exception as error:
            answer = [False, type(error).__name__, str(error)]
        print(json.dumps(answer, default=repr), flush=True)


def told(code: str, known: dict[str, object]) -> object:
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "told", "exec"), known)
    return eval(compile(ast.Expression(last.value), "told", "eval"), known) if last else None


if __name__ == "__main__":
    main()
