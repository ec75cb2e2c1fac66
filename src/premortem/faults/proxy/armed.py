"""A fault that is in: it knows what it has hit, can be changed, and is taken out when its block ends."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

from premortem.errors import ConfigurationError
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.protocols import Seen
from premortem.faults.strike import lifted, struck

if TYPE_CHECKING:
    from premortem.faults.proxy.client import FaultProxy


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault took effect, at `at_s` of the monotonic clock, on the connection of that number; `recipe` repeats it.

    Connection 0 is one that never was: it was refused.
    """

    at_s: float
    connection: int
    what: str
    recipe: str


class Armed:
    """What every fault of a proxy gives: armed from the start, disarmed at the end of a `with` or `async with` block.

    Strikes are told by `faults.strike.struck` as they come, in the context that has armed it and on a thread of the
    host; whoever listens there must not ask the proxy for anything.
    """

    def __init__(self, proxy: FaultProxy, number: int, fault: Fault) -> None:
        self.proxy = proxy
        self.fault = fault
        self.expired = False
        """Its `ttl_s` was up before it was disarmed."""
        self._number = number
        self._strikes: list[Strike] = []
        self._context = contextvars.copy_context()  # a thread has no listeners of its own: strikes must still be heard
        self._in = True

    @property
    def strikes(self) -> tuple[Strike, ...]:
        """What it has hit until now, in order. Every connection once, every message as often as it was hit."""
        self._sync()
        return tuple(self._strikes)

    @property
    def hit(self) -> bool:
        """Whether it has hit anything: a fault that has not proves nothing."""
        return bool(self.strikes)

    def change(self, **values: object) -> None:
        """Give it other parameters; which connections it strikes goes by the lots that were drawn before."""
        if "ttl_s" in values:
            raise ConfigurationError(f"ttl_s={values['ttl_s']!r}: runs from when the fault was armed; arm another one")
        fault = replace(self.fault, **values)  # type: ignore[arg-type] # the names and values of the kind, which it checks
        if fault.name == "at" and replace(fault, share=self.fault.share) != self.fault:
            raise ConfigurationError(f"{fault}: counts from its beginning; arm another one for other messages")
        self.proxy.ask("change", arm=self._number, fault=written(fault))
        self.fault = fault

    def disarm(self) -> None:
        """Take it out. When this comes back, all its strikes are known. Can be called again."""
        if self._in:
            self._in = False
            self.proxy.disarm(self._number)
            self._context.run(lifted, self.fault.name, f"port {self.proxy.port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disarm()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.disarm)

    def has_struck(self, strike: Strike) -> None:
        """The proxy tells of a strike."""
        self._strikes.append(strike)
        what = f"connection {strike.connection} of port {self.proxy.port}: {strike.what}"
        fault = strike.recipe if self.fault.name == "at" else self.fault.name
        self._context.run(struck, fault, what)

    def has_seen(self, seen: Seen) -> None:
        """The proxy tells of a message; only a recording asks for that."""

    def _sync(self) -> None:
        if self._in:
            self.proxy.sync()


class Recording(Armed):
    """Strikes nothing, and takes down every message that goes by."""

    def __init__(self, proxy: FaultProxy, number: int, fault: Fault) -> None:
        super().__init__(proxy, number, fault)
        self._seen: list[Seen] = []

    @property
    def seen(self) -> tuple[Seen, ...]:
        """The messages until now, in order."""
        self._sync()
        return tuple(self._seen)

    def has_seen(self, seen: Seen) -> None:
        """One more."""
        self._seen.append(seen)


def written(fault: Fault) -> dict[str, object]:
    """A fault, as it goes over the channel."""
    return {"name": fault.name} | {one.name: getattr(fault, one.name) for one in fields(fault)}
