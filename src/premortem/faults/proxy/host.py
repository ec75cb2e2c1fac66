"""A process for any number of proxies: what may stand before what, and whose faults have hit something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, cast

from premortem.errors import ConfigurationError
from premortem.faults.proxy.armed import Armed, Strike
from premortem.faults.proxy.channel import Channel, Told
from premortem.faults.proxy.protocols import Direction, Seen
from premortem.faults.targets import AllowList, check_target

if TYPE_CHECKING:
    from premortem.faults.proxy.client import FaultProxy

_LAST_PORT = 65535


class ProxyHost:
    """One process that serves any number of proxies, from one thread. `allow`: targets beyond loopback.

    Safe to use from many threads. MissingRequirementError where the system has no epoll.
    """

    def __init__(self, allow: AllowList | None = None) -> None:
        self._allow = allow
        # Without a lock, which a fork might find held for ever: each of their uses is one step for other threads.
        self._armed: dict[int, Armed] = {}
        self._proxies: dict[int, FaultProxy] = {}
        self._channel = Channel(self._hear)

    @property
    def pid(self) -> int:
        """The process id of the proxy."""
        return self._channel.pid

    def open(self, upstream: tuple[str, int], *, port: int = 0, name: str = "", seed: int = 0) -> FaultProxy:
        """Listen at 127.0.0.1:`port` (0: any that is free) for `upstream`. FaultError if that is not ours to strike."""
        from premortem.faults.proxy.client import FaultProxy  # noqa: PLC0415 - it makes a host of its own where it has none

        return FaultProxy(upstream, port=port, name=name, seed=seed, host=self)

    def opened(self, proxy: FaultProxy, upstream: tuple[str, int], port: int, seed: int) -> int:
        """For a proxy that begins: the port at which it listens from now on."""
        if not 0 <= port <= _LAST_PORT:
            raise ConfigurationError(f"port={port}: has to be from 0 (any that is free) to {_LAST_PORT}")
        address = check_target(upstream[0], upstream[1], self._allow)
        number = self.ask("open", host=address, upstream_port=upstream[1], port=port, seed=seed)
        self._proxies[cast("int", number)] = proxy
        return cast("int", number)

    def proxies(self) -> tuple[FaultProxy, ...]:
        """Those that are open, in the order in which they were opened."""
        return tuple(self._proxies.values())

    def forget(self, proxy: FaultProxy) -> None:
        """For a proxy that closes: its port is given back, and its faults go with it."""
        self._proxies.pop(proxy.port, None)
        if not self._channel.over:
            self.ask("close", port=proxy.port)
        for number, armed in tuple(self._armed.items()):
            if armed.proxy is proxy:
                self.expect_no_more(number)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or this process is a fork of the one whose it is."""
        return self._channel.closed

    def number(self) -> int:
        """One that was never given before."""
        return self._channel.number()

    def expect(self, number: int, armed: Armed) -> None:
        """Tell `armed` of the strikes of the fault of this number."""
        self._armed[number] = armed

    def expect_no_more(self, number: int) -> None:
        """That fault is out, and all that it has hit was told."""
        self._armed.pop(number, None)

    def ask(self, do: str, **told: object) -> object:
        """One round trip. The errors are those of the other side; FaultError where there is none any more."""
        return self._channel.ask(do, **told)

    def sync(self) -> None:
        """Wait until all that has happened by now was told."""
        if not (self._channel.is_heard_here or self._channel.over):
            self.ask("sync")

    def close(self) -> None:
        """End the process, and with it every connection. Can be called again."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self, told: Told) -> None:
        event = next(iter(told))
        armed = self._armed.get(cast("int", told[event]))
        if armed is None:
            return
        if event == "struck":
            connection, what, recipe = cast("int", told["connection"]), str(told["what"]), str(told["recipe"])
            armed.has_struck(Strike(cast("float", told["at_s"]), connection, what, recipe))
        elif event == "seen":
            armed.has_seen(Seen(str(told["point"]), cast("Direction", told["direction"])))
        elif event == "expired":
            armed.expired = True
