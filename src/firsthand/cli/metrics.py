"""`firsthand metrics`: what Prometheus scrapes, from a process that only reads the history."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from firsthand.cli import options
from firsthand.errors import FirsthandError, UsageError


@click.command()
@options.history_option
@click.option("--listen", default="127.0.0.1:9464", show_default=True, help="ADDRESS:PORT; port 0 takes a free one.")
@click.option("--allow-remote", is_flag=True, help="Also listen on an address that is not this machine's own loopback.")
def command(history: Path | None, listen: str, allow_remote: bool) -> None:
    """Serve /metrics, and /healthz (200 where all is well, else 503), until SIGTERM or Ctrl-C.

    Prints the address when it listens.
    """
    import select
    import threading
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    from prometheus_client import CollectorRegistry, make_wsgi_app

    from firsthand.confine import wall
    from firsthand.host import ending
    from firsthand.serve.metrics import Metrics

    place = options.place(history)
    address, port = _address(listen, allow_remote=allow_remote)
    if not place.is_dir():
        raise UsageError(f"{place}: there is no history here; name one with --history or FIRSTHAND_HISTORY")
    stop = ending.stops()[:1]
    registry, metrics = CollectorRegistry(), Metrics(place)
    registry.register(metrics)

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """A scrape each few seconds is no news."""

    try:
        server = make_server(address, port, _with_health(make_wsgi_app(registry), metrics.healthy), handler_class=Quiet)
    except OSError as error:
        raise FirsthandError(f"cannot listen on {listen}: {error.strerror}; choose another with --listen") from error
    wall.read(place)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    print(f"http://{address}:{server.server_port}/metrics", file=sys.stderr, flush=True)
    select.select(stop, [], [])
    server.shutdown()
    server.server_close()


def _address(listen: str, *, allow_remote: bool) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    try:
        found = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError as error:
        raise UsageError(f"--listen {listen}: expected ADDRESS:PORT such as 127.0.0.1:9464") from error
    if not found.is_loopback and not allow_remote:
        raise UsageError(f"--listen {listen} can be reached from outside; say --allow-remote if that is meant")
    return str(found), number


def _with_health(app: Callable[..., Any], healthy: Callable[[], bool]) -> Callable[..., Any]:
    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment["PATH_INFO"] == "/healthz":
            good = healthy()
            start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"good\n" if good else b"bad: firsthand status says why\n"]
        found: Iterable[bytes] = app(environment, start)
        return found

    return answer
