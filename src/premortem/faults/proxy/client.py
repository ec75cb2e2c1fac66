"""The proxy as its users see it: a port in front of a server on loopback, and one method for every fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypedDict, TypeVar, Unpack, cast

from premortem.errors import ConfigurationError, FaultError
from premortem.events import emit
from premortem.faults.proxy.armed import Armed, Recording, written
from premortem.faults.proxy.host import ProxyHost
from premortem.faults.proxy.kinds.at import At
from premortem.faults.proxy.kinds.bandwidth import Bandwidth
from premortem.faults.proxy.kinds.black_hole import BlackHole
from premortem.faults.proxy.kinds.corrupt import Corrupt
from premortem.faults.proxy.kinds.down import Down
from premortem.faults.proxy.kinds.fail_first import FailFirst
from premortem.faults.proxy.kinds.fault import Directions, Fault
from premortem.faults.proxy.kinds.half_open import HalfOpen
from premortem.faults.proxy.kinds.latency import Latency
from premortem.faults.proxy.kinds.limit import Limit
from premortem.faults.proxy.kinds.refuse import Refuse
from premortem.faults.proxy.kinds.reset import Reset
from premortem.faults.proxy.kinds.slicer import Slicer
from premortem.faults.proxy.kinds.slow_close import SlowClose
from premortem.faults.targets import AllowList
from premortem.model.recipe import Recipe

A = TypeVar("A", bound=Armed)


class Common(TypedDict, total=False):
    """What every fault takes.

    `direction`: "both", "up" (to the server) or "down". `share`: of the connections, from 0 to 1, by the lot that each
    has drawn from the seed and its number. `ttl_s`: seconds after which the proxy itself takes the fault out.
    """

    direction: Directions
    share: float
    ttl_s: float | None


@dataclass(frozen=True, slots=True)
class Connection:
    """Connection `number` (from 1, in the order in which they came): bytes each way so far, and whether it is open."""

    number: int
    bytes_up: int
    bytes_down: int
    open: bool


class FaultProxy:
    """127.0.0.1:`port` is `upstream`, until a fault is armed. In a process of its own, or in that of `host`.

    `upstream` is a (host, port) on loopback, or one that `allow` names; FaultError otherwise.
    """

    def __init__(  # noqa: PLR0913 - all but the first are named, and seldom given
        self,
        upstream: tuple[str, int],
        *,
        port: int = 0,
        name: str = "",
        seed: int = 0,
        allow: AllowList | None = None,
        host: ProxyHost | None = None,
    ) -> None:
        self.upstream = upstream
        self.name = name
        self.seed = seed
        self.host = ProxyHost(allow) if host is None else host
        self._alone = host is None
        self._closed = False
        try:
            self.port = self.host.opened(self, upstream, port, seed)
        except BaseException:
            if self._alone:
                self.host.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect."""
        return "127.0.0.1", self.port

    def latency(self, delay_s: float, jitter_s: float = 0.0, **common: Unpack[Common]) -> Armed:
        """Every byte, and the end, arrives `delay_s` seconds later, more or less by up to `jitter_s`; in order."""
        return self.arm(Latency(delay_s, jitter_s, **common))

    def bandwidth(self, bytes_per_s: float, **common: Unpack[Common]) -> Armed:
        """So many bytes a second at most, in each direction of each connection."""
        return self.arm(Bandwidth(bytes_per_s, **common))

    def slow_close(self, delay_s: float, **common: Unpack[Common]) -> Armed:
        """The end of a connection arrives `delay_s` seconds late, its bytes in time."""
        return self.arm(SlowClose(delay_s, **common))

    def black_hole(self, close_after_s: float | None = None, **common: Unpack[Common]) -> Armed:
        """Nothing comes through, and nobody is told; what lost bytes is reset when it is lifted.

        `close_after_s` seconds after it met a connection, that ends in order.
        """
        return self.arm(BlackHole(close_after_s, **common))

    def reset(self, after_s: float = 0.0, **common: Unpack[Common]) -> Armed:
        """A true RST on every connection, `after_s` seconds after the fault has met it."""
        return self.arm(Reset(after_s, **common))

    def refuse(self, **common: Unpack[Common]) -> Armed:
        """connect() is refused; connections that live go on."""
        return self.arm(Refuse(**common))

    def half_open(self, **common: Unpack[Common]) -> Armed:
        """The server's side has gone without a word; the client's stays open and silent, until this is lifted."""
        return self.arm(HalfOpen(**common))

    def slicer(self, size_bytes: int, spread_bytes: int = 0, pause_s: float = 0.0, **common: Unpack[Common]) -> Armed:
        """Pieces of `size_bytes`, more or less by up to `spread_bytes`, `pause_s` seconds apart."""
        return self.arm(Slicer(size_bytes, spread_bytes, pause_s, **common))

    def limit(self, bytes_: int, **common: Unpack[Common]) -> Armed:
        """A connection ends in order after so many bytes of one direction."""
        return self.arm(Limit(bytes_, **common))

    def corrupt(self, every_bytes: int, **common: Unpack[Common]) -> Armed:
        """One bit in every `every_bytes` bytes is flipped."""
        return self.arm(Corrupt(every_bytes, **common))

    def fail_first(self, n: int, **common: Unpack[Common]) -> Armed:
        """The first `n` new connections are reset, those after them are served."""
        return self.arm(FailFirst(n, **common))

    def down(self, **common: Unpack[Common]) -> Armed:
        """connect() is refused, and connections that live end in order."""
        return self.arm(Down(**common))

    def at(self, *recipes: str | Recipe, **options: object) -> Armed:
        """At a message of a protocol: "postgres:COMMIT#1:after". Options: the protocol's, and the common ones.

        A connection that lives has to stand between two messages when this is armed.
        """
        common = {name: options.pop(name) for name in Common.__annotations__ if name in options}
        parsed = [Recipe.parse(one) if isinstance(one, str) else one for one in recipes]
        if not parsed:
            raise ConfigurationError("at(): has to name at least one recipe; write at('postgres:COMMIT#1:after')")
        told = tuple((name, str(value)) for name, value in sorted(options.items()))
        texts = tuple(str(one) for one in parsed)
        return self.arm(At(parsed[0].world, texts, told, **cast("Common", common)))

    def record(self, protocol: str) -> Recording:
        """Take down every message of this protocol that goes by in the block; its value has them as `seen`."""
        return self._arm(Recording, At(protocol, record=True))

    def arm(self, fault: Fault) -> Armed:
        """Put a fault in, on live connections and new ones alike: one round trip of a fraction of a millisecond."""
        return self._arm(Armed, fault)

    def connections(self) -> tuple[Connection, ...]:
        """The connections so far, by number: all that are open, and the last ten thousand that have ended."""
        rows = cast("list[tuple[int, int, int, bool]]", self.ask("connections"))
        return tuple(Connection(*row) for row in rows)

    def close(self) -> None:
        """End every connection, and give the port back. Can be called again."""
        if not self._closed:
            self._closed = True
            if self._alone:
                self.host.close()
            else:
                self.host.forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, do: str, **told: object) -> object:
        """One round trip to the process, about this proxy. FaultError once it is closed: its port may be another's."""
        if self._closed:
            raise FaultError(f"{do}: the proxy at port {self.port} was closed; open another one")
        return self.host.ask(do, port=self.port, **told)

    def sync(self) -> None:
        """Wait until all that has happened by now was told."""
        self.host.sync()

    def disarm(self, number: int) -> None:
        """Take out the fault of this number; that of a proxy that was closed has gone with it."""
        try:
            if not (self._closed or self.host.closed):
                self.ask("disarm", arm=number)
        finally:
            self.host.expect_no_more(number)

    def _arm(self, form: type[A], fault: Fault) -> A:
        number = self.host.number()
        armed = form(self, number, fault)
        self.host.expect(number, armed)
        if not isinstance(armed, Recording):
            emit("fault.armed", fault=fault.name, what=f"port {self.port}")  # before it is: it may strike at once
        try:
            self.ask("arm", arm=number, fault=written(fault))
        except BaseException:
            self.host.expect_no_more(number)
            raise
        return armed
