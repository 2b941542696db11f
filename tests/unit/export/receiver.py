"""A real HTTP receiver on the loopback, which keeps what it is sent and answers as it is told."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Post:
    """One request as it came."""

    key: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """`answers`: status codes for the next posts, 200 behind them; `deaf`: posts whose connection is cut before an answer,
    after they were kept. `taken`: what was answered with 200, or cut."""

    answers: list[int] = field(default_factory=list)
    deaf: int = 0
    taken: list[Post] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def start(self, context: ssl.SSLContext | None = None, port: int = 0) -> None:
        """Listen; with a context, for TLS alone."""
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def once(self) -> list[bytes]:
        """The lines that came, repeats by their key left out."""
        return [line for body in {one.key: one.body for one in self.taken}.values() for line in body.splitlines()]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Keep a post and answer it."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        post = Post(request.headers["Idempotency-Key"], request.path, dict(request.headers.items()), body)
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.taken.append(post)
        else:
            self.refused += 1
        if self.deaf and status == 200:
            self.deaf -= 1
            request.close_connection = True
            return
        request.send_response(status)
        request.send_header("Content-Length", "0")
        if status in (301, 307):
            request.send_header("Location", "http://127.0.0.1:1/")
        request.end_headers()
