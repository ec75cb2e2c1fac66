"""A private port on 127.0.0.1.

Law: outside the range from which the system serves outgoing connections, so that a server that was killed finds
its port free again; whoever takes one must be ready to find it taken, since between looking and binding there is
always a moment.
"""

from __future__ import annotations

import secrets
import socket

from premortem.errors import MissingRequirementError

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)  # Linux hands out 32768-60999, macOS 49152-65535
TAKEN = ("Address already in use", "could not bind")


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago; whoever takes it must be ready to lose the race."""
    for _ in range(len(PORTS)):
        port = secrets.choice(PORTS)
        if is_free(port):
            return port
    raise MissingRequirementError(
        "a free port", f"{PORTS.start}-{PORTS.stop - 1} are all taken", "stop the other servers"
    )


def is_free(port: int) -> bool:
    """Whether a server could bind the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def taken(said: str) -> bool:
    """Whether a server's log says that somebody else had the port."""
    return any(sign in said for sign in TAKEN)
