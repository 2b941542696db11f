"""`firsthand export`: the record streamed out, from a durable cursor on, each row once."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import select
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import click

from firsthand.cli import options
from firsthand.errors import UsageError

if TYPE_CHECKING:
    from firsthand.export.choice import Choice
    from firsthand.export.cursor import Cursor
    from firsthand.export.exporter import ExportPlan, Form
    from firsthand.export.output import Output

_SIZES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command()
@options.history_option
@click.option("--follow", is_flag=True, help="Go on with what is being recorded, until SIGTERM or Ctrl-C.")
@options.output_option("jsonl", "ocsf")
@click.option("--to", default="-", help="A file, an http(s) URL, or - for standard output.")
@click.option("--table", "tables", multiple=True, help="Only this table; may be given again. All by default.")
@click.option("--since", help="Only rows from then on: 2h, 30d or an ISO time.")
@click.option("--until", help="Only rows until then.")
@click.option("-n", "--namespace", help="Only this Kubernetes namespace.")
@click.option("--pod", help="Only this pod, by name or uid.")
@click.option("-l", "--selector", help="Only pods and containers with these labels, as kubectl takes them.")
@click.option("--flag", "flags", multiple=True, help="Only rows with this flag, such as SETUID; several: one of them.")
@click.option("--where", multiple=True, help="Only rows with COLUMN=VALUE; several: all of them.")
@click.option("--fields", help="Only these columns, by commas.")
@click.option("--cursor", type=click.Path(path_type=Path), help="Where the cursor is kept; beside the file by default.")
@click.option(
    "--grace", default="5s", help="How long rows wait for the names of their pods under --follow; 0 for none."
)
@click.option("--heartbeat", default="60s", help="Between two heartbeats under --follow; 0 for none.")
@click.option("--rotate-bytes", default="100MB", help="A new file at this size; 0 for never.")
@click.option("--rotate-age", default="0", help="A new file at this age, such as 1h; 0 for never.")
@click.option("--keep", type=click.IntRange(0), help="How many old files stay; all by default.")
@click.option("--compress", type=click.Choice(["zstd", "gzip"]), help="Pack old files.")
@click.option("--token-file", type=click.Path(path_type=Path), help="A file with the bearer token of the receiver.")
@click.option("--ca", type=click.Path(path_type=Path), help="Certificates (PEM) that the receiver's must come from.")
@click.option("--batch-bytes", default="1MB", help="Largest body of one post.")
@click.option("--timeout", default="30s", help="How long a post may take to be answered.")
def command(history: Path | None, follow: bool, output: str, to: str, **given: Any) -> None:
    """Stream the record out, each row once, from where the last run with the same cursor ended."""
    from firsthand.confine import wall
    from firsthand.host import ending

    place = options.place(history)
    choice = _choice(given, output, follow)
    plan = _plan(given, follow)
    given |= {name: _size(given[name]) for name in ("rotate_bytes", "batch_bytes")}
    given |= {name: options.seconds(given[name]) for name in ("rotate_age", "timeout")}
    url = urlsplit(to) if re.match(r"https?://", to) else None
    if url is not None:
        _check_url(url, given)
    if not place.is_dir():
        raise UsageError(f"{place}: there is no history here; name one with --history or FIRSTHAND_HISTORY")
    stop = ending.stops()[:1]  # standard input says nothing: an export stands in pipes
    wall.read(place)
    _run(place, to, url, choice, plan, output, given, stop)


def _run(
    place: Path,
    to: str,
    url: SplitResult | None,
    choice: Choice,
    plan: ExportPlan,
    output: str,
    given: dict[str, Any],
    stop: list[int],
) -> None:
    from firsthand.export.cursor import Cursor
    from firsthand.export.exporter import Exporter

    wait = _waiting(stop)
    cursor = Cursor(_cursor(given["cursor"], to, url, place), place)
    try:
        exporter = Exporter(place, cursor, _output(to, url, cursor, given, wait), _form(output), choice, plan)
    except BaseException:
        cursor.close()
        raise
    try:
        exporter.run(wait, _idling(stop))
    finally:
        exporter.close()


def _waiting(stop: list[int]) -> Callable[[float], bool]:
    return lambda seconds: bool(select.select(stop, [], [], seconds)[0])


def _idling(stop: list[int]) -> Callable[[float, Sequence[int]], bool]:
    return lambda seconds, others: bool({*stop} & {*select.select([*stop, *others], [], [], seconds)[0]})


def _choice(given: dict[str, Any], output: str, follow: bool) -> Choice:
    """What is wanted, every word of it checked."""
    from firsthand.ask import selector
    from firsthand.export import choice

    now = datetime.now(UTC)
    tables = choice.check_tables(given["tables"])
    if given["fields"] and output == "ocsf":
        raise UsageError("--fields is for -o jsonl: an event of OCSF has what its class demands")
    if given["until"] and follow:
        raise UsageError("--until has no meaning with --follow; leave one of them out")
    fields = tuple(name.strip() for name in (given["fields"] or "").split(",") if name.strip())
    for name in fields:
        choice.check_column("--fields", name, tables)
    return choice.Choice(
        tables=tables,
        since=options.moment(given["since"], now) if given["since"] else None,
        until=options.moment(given["until"], now) if given["until"] else None,
        namespace=given["namespace"],
        pod=given["pod"],
        selector=tuple(selector.parse(given["selector"])) if given["selector"] else (),
        flags=tuple(_flag(name) for name in given["flags"]),
        where=tuple(_where(text, tables) for text in given["where"]),
        fields=fields,
    )


def _where(text: str, tables: frozenset[str]) -> tuple[str, str]:
    from firsthand.export import choice

    column, equal, value = text.partition("=")
    if not equal:
        raise UsageError(f"--where: expected COLUMN=VALUE, found {text!r}")
    for found in choice.check_column("--where", column, tables):
        choice.value_of(found, value)
    return column, value


def _flag(name: str) -> str:
    from firsthand.schema import flags

    (found,) = flags.checked(name)
    return found


def _plan(given: dict[str, Any], follow: bool) -> ExportPlan:
    from firsthand.export.exporter import ExportPlan

    return ExportPlan(
        follow=follow,
        grace=options.seconds(given["grace"]),
        heartbeat=options.seconds(given["heartbeat"]),
        begin="now" if follow and not given["since"] else "first",
        node=platform.node(),
    )


def _check_url(url: SplitResult, given: dict[str, Any]) -> None:
    if not url.hostname or url.username is not None:
        raise UsageError(f"--to {url.geturl()}: expected http(s)://HOST[:PORT]/PATH; a token stands in --token-file")
    if given["token_file"] and url.scheme == "http" and url.hostname not in _LOOPBACK:
        raise UsageError(f"--to {url.geturl()}: a token goes out over https:// alone, or to this machine itself")


def _cursor(given: Path | None, to: str, url: SplitResult | None, history: Path) -> Path | None:
    """Where the cursor is: where it was told, beside the file, or for a receiver in the user's state directory (XDG)."""
    if given is not None:
        return given
    if to == "-":
        return None
    if url is None:
        return Path(f"{to}.cursor")
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    name = hashlib.sha256(f"{history.absolute()}\n{to}".encode()).hexdigest()[:16]
    return state / "firsthand-export" / f"{url.hostname}-{name}.cursor"


def _form(output: str) -> Form:
    if output == "ocsf":
        from firsthand.export import ocsf

        return ocsf
    from firsthand.export import jsonl

    return jsonl


def _output(
    to: str, url: SplitResult | None, cursor: Cursor, given: dict[str, Any], wait: Callable[[float], bool]
) -> Output:
    if url is not None:
        return _receiver(url, cursor, given, wait)
    if to == "-":
        from firsthand.export.output import OpenOutput

        return OpenOutput()
    from firsthand.export.file import Appended
    from firsthand.export.rotation import Rotation

    limits = Rotation(given["rotate_bytes"], given["rotate_age"] or None, given["keep"], given["compress"])
    return Appended(Path(to), limits)


def _receiver(url: SplitResult, cursor: Cursor, given: dict[str, Any], wait: Callable[[float], bool]) -> Output:
    from firsthand.export.post import Posted, Receiver

    assert cursor.path is not None  # a URL always has one (_cursor)
    receiver = Receiver(url, given["token_file"], given["ca"], given["timeout"], given["batch_bytes"] or 1)
    spool = cursor.path.with_name(f"{cursor.path.name}.batch")
    return Posted(receiver, spool, cursor.state.identity, wait)


def _size(text: str) -> int | None:
    """Bytes such as 100MB (powers of ten); None for 0. UsageError for anything else."""
    found = re.fullmatch(r"(\d+)\s*(KB|MB|GB|)", text.strip().upper())
    if not found:
        raise UsageError(f"{text!r} is no size; write 500KB, 100MB or 1GB")
    return int(found[1]) * _SIZES[found[2]] or None
