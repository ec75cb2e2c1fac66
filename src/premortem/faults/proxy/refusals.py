"""Who was refused at a closed port: the kernel answers for us, and tells nobody; so we look over its shoulder.

A raw socket, where we may have one (CAP_NET_RAW), sees each attempt on this port and nothing else. Where not, the
kernel's count of failed attempts of the whole machine (`AttemptFails`, RFC 4022) tells at least when there was none.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Callable
from contextlib import suppress

from premortem.faults.proxy.engine import IN, Engine

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_SNMP = "/proc/net/snmp"


class Witness:
    """Calls `tell` with every refusal at `port`, as it comes or when `look` is called, until it is closed."""

    def __init__(self, engine: Engine, port: int, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._port = port
        self._tell = tell
        self._raw = _raw_socket(port)
        self._failed = _failed_attempts()
        if self._raw is not None:
            engine.add(self._raw.fileno(), IN, lambda _event: self.look())

    def look(self) -> None:
        """Tell of what has happened by now."""
        if self._raw is None:
            failed = _failed_attempts()
            if failed > self._failed:
                self._tell(f"refused; {failed - self._failed} attempts to connect have failed on this machine")
            self._failed = failed
            return
        with suppress(BlockingIOError):
            while True:
                packet = self._raw.recv(128)
                (source,) = struct.unpack_from("!H", packet, (packet[0] & 15) * 4)
                self._tell(f"refused a client that came from port {source}")

    def close(self) -> None:
        """Look a last time, and look no more."""
        self.look()
        if self._raw is not None:
            self._engine.remove(self._raw.fileno())
            self._raw.close()


def _raw_socket(port: int) -> socket.socket | None:
    """It gets what asks for a connection with this port; None where we may not."""
    program = array("Q")
    for code, yes, no, value in (
        (0xB1, 0, 0, 0),  # x = length of the IP header
        (0x48, 0, 0, 2),  # destination port
        (0x15, 0, 4, port),
        (0x50, 0, 0, 13),  # flags
        (0x54, 0, 0, 0x12),
        (0x15, 0, 1, 0x02),  # SYN without ACK
        (0x06, 0, 0, 128),  # take so many bytes
        (0x06, 0, 0, 0),  # take nothing
    ):
        program.frombytes(struct.pack("=HBBI", code, yes, no, value))
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    except OSError:
        return None
    try:
        address, length = program.buffer_info()
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", length, address))
        with suppress(BlockingIOError):
            while True:  # what came before the filter
                raw.recv(1)
    except OSError:
        raw.close()
        return None
    return raw


def _failed_attempts() -> int:
    with suppress(OSError, ValueError), open(_SNMP, encoding="ascii") as table:  # noqa: PTH123 - pathlib costs memory
        names, values = (line.split() for line in table if line.startswith("Tcp:"))
        return int(values[names.index("AttemptFails")])
    return 0
