"""The proxy's end of the control channel: one request a line, one answer a line, and in between what has happened.

Laws:
- A request is answered in the round of the loop in which it came. Nothing that it asks for waits for a client or a
  server.
- End of file means that the owner has gone: so do we.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from time import monotonic
from typing import cast

from premortem.errors import FaultError, PremortemError
from premortem.faults.proxy.engine import IN, OUT, Engine
from premortem.faults.proxy.kinds import kind
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.port import Place, Port
from premortem.faults.proxy.protocols import Seen
from premortem.faults.proxy.upstream import Upstreams

_CHUNK_BYTES = 1 << 16
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Request = dict[str, Json]


class Owner:
    """Whom we serve, and the ports that were opened for it."""

    def __init__(self, engine: Engine, channel: socket.socket) -> None:
        self._engine = engine
        self._channel = channel
        channel.setblocking(False)
        self._heard = b""
        self._unsaid = bytearray()
        self._wanted = IN
        self._upstreams = Upstreams(engine)
        self._ports: dict[int, Port] = {}
        self._do: dict[str, Callable[[Request], Json]] = {
            "open": self._open, "close": self._close, "arm": self._arm, "change": self._change,
            "disarm": self._disarm, "connections": self._connections, "sync": self._sync,
        }  # fmt: skip
        engine.add(channel.fileno(), IN, self._ready)

    def struck(self, arm: int, connection: int, what: str, recipe: str) -> None:
        """Tell of a strike."""
        self._say({"struck": arm, "at_s": monotonic(), "connection": connection, "what": what, "recipe": recipe})

    def seen(self, arm: int, seen: Seen) -> None:
        """Tell of a message that went by."""
        self._say({"seen": arm, "point": seen.point, "direction": seen.direction})

    def expired(self, arm: int) -> None:
        """Tell that a fault's time was up."""
        self._say({"expired": arm})

    def _ready(self, event: int) -> None:
        if event & OUT:
            self._flush()
        if not event & ~OUT:
            return
        try:
            piece = self._channel.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._engine.stop()
            return
        *lines, self._heard = (self._heard + piece).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))

    def _answer(self, request: Request) -> None:
        try:
            value = self._do[str(request["do"])](request)
        except PremortemError as error:
            self._say({"id": request["id"], "error": type(error).__name__, "why": str(error)})
        except OSError as error:
            self._say({"id": request["id"], "error": "FaultError", "why": str(error)})
        else:
            self._say({"id": request["id"], "value": value})

    def _open(self, request: Request) -> int:
        host, port = str(request["host"]), cast("int", request["upstream_port"])
        place = Place((host, port), cast("int", request["port"]), cast("int", request["seed"]))
        opened = Port(self._engine, self, self._upstreams, place)
        self._ports[opened.number] = opened
        self._upstreams.watch(opened)
        return opened.number

    def _close(self, request: Request) -> None:
        port = self._port(request)
        del self._ports[port.number]
        self._upstreams.forget(port)
        port.close()

    def _arm(self, request: Request) -> None:
        self._port(request).arm(cast("int", request["arm"]), read_fault(request["fault"]))

    def _change(self, request: Request) -> None:
        self._port(request).change(cast("int", request["arm"]), read_fault(request["fault"]))

    def _disarm(self, request: Request) -> None:
        self._port(request).disarm(cast("int", request["arm"]))

    def _sync(self, _request: Request) -> None:
        for port in self._ports.values():
            port.look()

    def _connections(self, request: Request) -> Json:
        return [list(record) for record in self._port(request).records()]

    def _port(self, request: Request) -> Port:
        number = cast("int", request["port"])
        if number not in self._ports:
            raise FaultError(f"port {number}: its proxy was closed, and its faults have gone with it; open another one")
        return self._ports[number]

    def _say(self, told: Request) -> None:
        self._unsaid += json.dumps(told, separators=(",", ":")).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        try:
            del self._unsaid[: self._channel.send(self._unsaid)]
        except BlockingIOError:
            pass
        except OSError:  # the owner has gone, and we will hear of it
            self._unsaid.clear()
        wanted = IN | OUT if self._unsaid else IN
        if wanted != self._wanted:
            self._engine.change(self._channel.fileno(), wanted)
            self._wanted = wanted


def read_fault(told: Json) -> Fault:
    """A fault as `written` wrote it. ConfigurationError where it makes no sense."""
    fields = {name: _frozen(value) for name, value in cast("Request", told).items()}
    name = str(fields.pop("name"))
    return cast("Fault", cast("type", kind(name))(**fields))


def _frozen(value: Json) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
