"""A Valkey server of our own: loopback only, with a password, in memory unless `appendonly` is set.

Laws: the password stands in a 0600 file that belongs to the server's account, never on the command line;
nothing is saved by default, since a run's data die with it. A Redis on PATH serves as well.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from premortem.errors import ConfigurationError
from premortem.servers.binaries import Binaries, find_valkey
from premortem.servers.embedded import EmbeddedServer
from premortem.servers.loopback import LOOPBACK
from premortem.servers.watched import Watched

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"daemonize": "no", "protected-mode": "yes", "save": "", "appendonly": "no", "logfile": ""}
)
ANSWER_S = 0.5  # of our own server; somebody else may hold its port and say nothing


def ping(address: tuple[str, int], password: str, *, user: str = "", timeout_s: float = ANSWER_S) -> str:
    """Log in and PING over a plain socket: "" when it answers as it should, else what it said.

    Raises `OSError` when there is no connection.
    """
    with socket.create_connection(address, timeout=timeout_s) as connection, connection.makefile("rb") as answers:
        if password:
            login = ["AUTH", *([user] if user else []), password]
            connection.sendall(_encode(login))
            answer = answers.readline()
            if answer != b"+OK\r\n":
                return answer.decode(errors="replace").strip() or "nothing"
        connection.sendall(_encode(["PING"]))
        answer = answers.readline()
    return "" if answer == b"+PONG\r\n" else answer.decode(errors="replace").strip() or "nothing"


def _encode(words: list[str]) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


class ValkeyServer(EmbeddedServer):
    """An embedded Valkey."""

    kind = "valkey"
    modes: ClassVar[Mapping[str, int]] = MappingProxyType({"fast": signal.SIGTERM})

    @property
    def origin(self) -> str:
        """What it is, in words: "embedded Valkey 9.1.2"."""
        return f"embedded Valkey {self.binaries.version}"

    def find(self) -> Binaries:
        """The first of `binaries.find_valkey`."""
        return find_valkey()

    def fill(self, watched: Watched) -> None:  # noqa: ARG002 - takes no program
        """An empty folder."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self.account:
            os.chown(self.data, self.account.uid, self.account.gid)

    def command(self, port: int) -> tuple[str, ...]:
        """`valkey-server FILE`, the file written anew."""
        chosen = {
            **DEFAULTS, **self.settings, "bind": LOOPBACK, "port": str(port), "dir": str(self.data),
            "requirepass": self.password,
        }  # fmt: skip
        path = self.data / "valkey.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"{name} {_quoted(name, value)}\n" for name, value in chosen.items())
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)
        return (str(self.binaries.program), str(path))

    def answers(self, port: int) -> bool:
        """It takes our password and says PONG."""
        try:
            return ping((LOOPBACK, port), self.password) == ""
        except OSError:
            return False

    def url(self, database: int = 0) -> str:
        """`redis://:password@127.0.0.1:port/database`: the scheme that every client knows."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{database}"


def _quoted(name: str, value: str) -> str:
    if not value.isprintable() or not name.replace("-", "").isalnum():
        raise ConfigurationError(f"setting {name!r}={value!r}: must be one line of text; correct it")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
