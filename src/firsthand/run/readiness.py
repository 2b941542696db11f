"""Words to the service manager: readiness and signs of life (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(text: str) -> None:
    """Send one datagram to $NOTIFY_SOCKET, a path or an abstract name; nothing where there is none.

    A manager that reads no more never blocks the supervisor: a datagram that its queue does not take is dropped.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager,
    ):
        manager.sendto(text.encode(), socket.MSG_DONTWAIT, "\0" + address[1:] if address.startswith("@") else address)
