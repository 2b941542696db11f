"""Redaction: rows a second of processor time, over ordinary argument lists and over hostile ones."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest
import re2

from firsthand.wire.batch import Lists, text
from firsthand.wire.redact import HASH, Redactor, compile_redactor
from tests.unit.wire import forms

pytestmark = pytest.mark.bench
ROWS = 32768
_ORDINARY = (
    b"/usr/bin/python3 -m http.server --bind 0.0.0.0 --directory /srv/www",
    b"/bin/sh -c test -f /run/app/ready && exec /usr/local/bin/healthcheck",
    b"runc --root /run/containerd/runc/k8s.io --log-format json state 4f1d",
    b"grep -rn --include=*.conf listen /etc/nginx/sites-enabled/default",
    b"curl -sf --max-time 2 http://127.0.0.1:8080/healthz/readiness/probe",
    b"sed -e s/a/b/ /var/lib/app/input.txt",
    b"gcc -O2 -Wall -Iinclude -c src/module/file_number_seventeen.c -o out.o",
)
_SECRETS = (b"mysql -u root -phunter2 db", b"app --password hunter2 --verbose", b"curl -H x http://u:hunter2@host/path")


def _lists(rows: list[bytes]) -> Lists:
    split = [row.split(b" ") for row in rows]
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in split], out=offsets[1:])
    return Lists(offsets, text([item for row in split for item in row]))


def _show(what: str, args: Lists, redactor: Redactor | None = None, modes: np.ndarray | None = None) -> None:
    redactor = redactor or compile_redactor()
    rates = []
    for _ in range(7):
        began = time.process_time()
        found = int(redactor.apply(args, modes).redacted.sum())
        rates.append(len(args) / (time.process_time() - began) / 1e6)
    size = len(args.items.data) / len(args)
    low, median, high = min(rates), statistics.median(rates), max(rates)
    print(
        f"\n{what}: {median:.3f} M rows/s/core ({low:.3f} to {high:.3f}), {size:.0f} bytes a row, {found / len(args):.1%} hit"
    )


def _mixed(every: int) -> Lists:
    plain = [_ORDINARY[i % len(_ORDINARY)] for i in range(ROWS)]
    for i in range(0, ROWS, every):
        plain[i] = _SECRETS[i // every % len(_SECRETS)]
    return _lists(plain)


def test_ordinary_arguments() -> None:
    """No secret, one row in a hundred, one in ten, all."""
    _show("no secrets", _mixed(ROWS))
    _show("one in 100", _mixed(100))
    _show("one in 10", _mixed(10))
    _show("every row", _mixed(1))


def test_arguments_of_scripts() -> None:
    """Lines of Debian's own scripts: other programs and words in each row than in the one before."""
    lines = [line.encode() for line in forms.lines("ordinary_lines.txt")]
    _show("scripts", _lists([lines[i % len(lines)] for i in range(ROWS)]))
    _show("scripts, no two lines alike", _lists([lines[i % len(lines)] + b" /tmp/%x" % i for i in range(ROWS)]))


def test_hostile_arguments() -> None:
    """4 KiB a row: quotes; near misses only; the first half of every expression."""
    _show("quotes", _lists([b"sh -c " + b"'\"" * 2040] * 512))
    _show("near misses", _lists([b"password-file token-ttl " * 170] * 512))
    _show("almost", _lists([b"curl -u " * 500] * 512))
    _show("every word a secret", _lists([b"token=x " * 500] * 512))


def test_hashes() -> None:
    """Mode hash on every row: one keyed hash for each argument."""
    args = _mixed(ROWS)
    _show("hash", args, compile_redactor(mode="hash", key=b"key"), np.full(len(args), HASH, dtype=np.int8))


def test_compiling() -> None:
    """What a start pays."""
    re2.purge()
    began = time.process_time()
    compile_redactor()
    print(f"\ncompile: {(time.process_time() - began) * 1e3:.0f} ms")
