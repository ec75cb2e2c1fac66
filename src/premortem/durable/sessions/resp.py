"""RESP, the protocol of Valkey and Redis, over a plain socket: as much of it as a store needs.

Laws: every wait has an end; after any failure the connection is gone, so that no answer can be taken for another's.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from premortem.errors import ConfigurationError

Reply = None | int | str | bytes | list["Reply"]
_MOST_BYTES = 512 << 20  # the longest text that a server keeps
_DEEPEST = 8


class RespError(Exception):
    """The server's own word: "WRONGPASS ...", "OOM ..."."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is, from `redis://user:password@host:6379/0`; valkey, rediss, valkeys (TLS) and unix as well."""

    host: str
    port: int
    path: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    tls: bool = False

    @classmethod
    def of(cls, url: str) -> Server:
        """ConfigurationError, without the URL, which may hold a password."""
        try:
            parts = urlsplit(url)
            where = (parts.hostname or "", parts.port or 6379)
            unix = parts.scheme == "unix"
            number = parse_qs(parts.query).get("db", ["0"])[0] if unix else parts.path.strip("/") or "0"
            if parts.scheme not in ("redis", "rediss", "valkey", "valkeys", "unix") or not (where[0] or unix):
                raise ValueError(parts.scheme)  # noqa: TRY301 - one answer for all that is wrong
            return cls(
                *where, parts.path if unix else "", unquote(parts.username or ""), unquote(parts.password or ""),
                int(number), parts.scheme in ("rediss", "valkeys"),
            )  # fmt: skip
        except ValueError:
            raise ConfigurationError(
                "the URL of a Valkey or Redis: has to look like redis://:password@host:6379/0; correct it"
            ) from None


class Connection:
    """One connection. OSError when it fails (ConnectionError, TimeoutError), RespError for what the server refuses."""

    def __init__(self, server: Server, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._socket = _connected(server, timeout_s)
        self._answers: BinaryIO = self._socket.makefile("rb")
        self._ends = 0.0
        try:
            hello = [("AUTH", *([server.user] if server.user else []), server.password)] if server.password else []
            self.ask(*hello, *([("SELECT", server.database)] if server.database else []))
        except BaseException:
            self.close()
            raise

    def ask(self, *commands: tuple[str | bytes | int, ...]) -> list[Reply]:
        """Send commands together; all their answers, in order. The first refusal of a command is raised."""
        if not commands:
            return []
        self._ends = time.monotonic() + self._timeout_s
        self._socket.settimeout(self._timeout_s)
        self._socket.sendall(b"".join(map(encoded, commands)))
        replies: list[Reply] = []
        refusal: RespError | None = None
        for _ in commands:
            try:
                replies.append(self._reply())
            except RespError as error:
                refusal = refusal or error
        if refusal:
            raise refusal
        return replies

    def close(self) -> None:
        """Give it back."""
        self._answers.close()
        self._socket.close()

    def _reply(self, depth: int = 0) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode(errors="replace")
        if kind == b"-":
            raise RespError(rest.decode(errors="replace"))
        number = _number(line)
        if kind == b":":
            return number
        if kind == b"_" or number == -1:
            return None
        if kind == b"$" and 0 <= number <= _MOST_BYTES:
            return self._exactly(number)
        if kind == b"*" and number >= 0 and depth < _DEEPEST:
            return [self._reply(depth + 1) for _ in range(number)]
        raise ConnectionError(f"{line[:40]!r} is no answer of a Valkey or Redis")

    def _line(self) -> bytes:
        self._wait()
        line = self._answers.readline(1 << 16)
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has closed the connection")
        return line[:-2]

    def _exactly(self, size: int) -> bytes:
        self._wait()
        data = self._answers.read(size + 2)
        if len(data) < size + 2:
            raise ConnectionError("the server has closed the connection")
        return data[:-2]

    def _wait(self) -> None:
        """One end for all the answers: a server that drips must not renew our patience."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer within {self._timeout_s:g} s")
        self._socket.settimeout(left)


def encoded(command: tuple[str | bytes | int, ...]) -> bytes:
    """A command as it is sent."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _number(line: bytes) -> int:
    try:
        return int(line[1:])
    except ValueError:
        raise ConnectionError(f"{line[:40]!r} is no answer of a Valkey or Redis") from None


def _connected(server: Server, timeout_s: float) -> socket.socket:
    if server.path:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        connection.connect(server.path)
        return connection
    connection = socket.create_connection((server.host, server.port), timeout=timeout_s)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not server.tls:
        return connection
    import ssl  # noqa: PLC0415 - 15 ms for who wants it

    return ssl.create_default_context().wrap_socket(connection, server_hostname=server.host)
