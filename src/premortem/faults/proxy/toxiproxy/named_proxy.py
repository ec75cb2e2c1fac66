"""One proxy that was asked for by name, with its toxics, through being disabled, moved and deleted.

Laws:
- One lock a proxy, held for control alone: it never waits for a byte of the data side.
- A proxy that is disabled keeps its toxics, and their counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from premortem.errors import FaultError
from premortem.faults.proxy import FaultProxy, ProxyHost
from premortem.faults.proxy.toxiproxy.config import Address, ProxyEntry, read_address, read_listen
from premortem.faults.proxy.toxiproxy.fields import Fields, Json
from premortem.faults.proxy.toxiproxy.refusals import bad_body, no_proxy, no_toxic, toxic_exists
from premortem.faults.proxy.toxiproxy.tally import Held, Hit, Tally
from premortem.faults.proxy.toxiproxy.toxics import Toxic

_DOWN = Toxic("down", "down", "both")


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went through a proxy since it was opened: bytes towards the server, bytes towards the client."""

    connections: int
    bytes_up: int
    bytes_down: int


class NamedProxy:
    """Every method takes its lock, so that requests may come at once."""

    def __init__(self, host: ProxyHost, entry: ProxyEntry, seed: int) -> None:
        self.name = entry.name
        self.upstream = entry.upstream
        self.listen = entry.listen
        """Where it listens; port 0 until it first does."""
        self._host = host
        self._seed = seed
        self._lock = threading.RLock()
        self._ended = False
        self._proxy: FaultProxy | None = None
        self._down: Held | None = None
        self._toxics: dict[str, Held] = {}
        self._tally = Tally(entry.name)
        for toxic in entry.toxics or ():
            self._toxics[toxic.name] = Held(toxic)

    @property
    def enabled(self) -> bool:
        """Whether it takes connections."""
        return self._proxy is not None and self._down is None

    def enable(self) -> None:
        """Take connections, from the first one on with the toxics it has."""
        with self._lock:
            if self._down is not None:
                self._take_out(self._down)
                self._down = None
            elif self._proxy is None:
                self._open()

    def disable(self) -> None:
        """Refuse connections, and drop those that live."""
        with self._lock:
            if self.enabled:
                self._down = self._put_in(Held(_DOWN))

    def close(self) -> None:
        """Drop its connections, and free its port."""
        with self._lock:
            if self._proxy is None:
                return
            for held in self._all():
                self._tally.note(held)
                held.armed, held.noted = None, 0
            self._down = None
            self._proxy.close()
            self._proxy = None

    def end(self) -> None:
        """Close it for good: a request that was under way when it was deleted does not open it again."""
        with self._lock:
            self._ended = True
            self.close()

    def update(self, told: Json, check: Callable[[Address], None]) -> None:
        """Change what the request names; `check` refuses an upstream. A new address drops the connections.

        Toxics in it are left alone: clients send back the whole proxy as they have once read it.
        """
        with self._lock:
            fields = Fields(told, "proxy")
            if (name := fields.text("name") or self.name) != self.name:
                raise bad_body(f"'name' is {self.name!r} and cannot become {name!r}; delete the proxy and make another")
            listen = read_listen(fields.text("listen", str(self.listen)))
            upstream = read_address(fields.text("upstream", str(self.upstream)), "upstream")
            enabled = fields.flag("enabled", default=self.enabled)
            for ignored in ("toxics", "logger"):
                fields.take(ignored)
            fields.finish()
            check(upstream)
            self._move(listen, upstream)
            (self.enable if enabled else self.disable)()

    def is_at(self, listen: Address, upstream: Address) -> bool:
        """Whether it is where it is wanted; port 0 wants no place."""
        return upstream == self.upstream and listen.port in (0, self.listen.port)

    def set_toxics(self, toxics: tuple[Toxic, ...]) -> None:
        """Have these toxics and no others; those that stay as they are keep their counts."""
        with self._lock:
            wanted = {toxic.name: toxic for toxic in toxics}
            for held in list(self._toxics.values()):
                if wanted.get(held.toxic.name) != held.toxic:
                    self.remove(held.toxic.name)
            for toxic in toxics:
                if toxic.name not in self._toxics:
                    self.add(toxic)

    def toxics(self) -> tuple[Toxic, ...]:
        """In the order in which they were added."""
        with self._lock:
            return tuple(held.toxic for held in self._toxics.values())

    def toxic(self, name: str) -> Toxic:
        """One of them."""
        with self._lock:
            return self._held(name).toxic

    def add(self, toxic: Toxic) -> None:
        """Put one in: on live connections and new ones alike."""
        with self._lock:
            if toxic.name in self._toxics:
                raise toxic_exists(toxic.name)
            toxic.fault()  # refused now, even while the proxy is disabled
            held = Held(toxic)
            if self._proxy is not None:
                self._put_in(held)
            self._toxics[toxic.name] = held

    def change(self, name: str, told: Json) -> Toxic:
        """Change its attributes or toxicity; which connections it has does not change with the attributes."""
        with self._lock:
            held = self._held(name)
            toxic = held.toxic.changed(told)
            toxic.fault()  # refused before anything is changed, if it makes no sense
            self._tally.note(held)
            if held.armed is None:
                held.toxic = toxic
            elif toxic.type == "at":  # another recipe is another fault, and counts from its own beginning
                self._take_out(held)
                held.toxic, held.armed, held.noted = toxic, None, 0
                self._put_in(held)
            else:
                held.armed.change(**toxic.parameters(), share=toxic.toxicity)
                held.toxic = toxic
            return toxic

    def remove(self, name: str) -> None:
        """Take one out."""
        with self._lock:
            held = self._held(name)
            self._take_out(held)
            del self._toxics[name]

    def reset(self) -> None:
        """Enable it, without toxics."""
        with self._lock:
            self.set_toxics(())
            self.enable()

    def hits(self) -> tuple[Hit, ...]:
        """The strikes since the last time this was asked; the last ten thousand, if it was long ago."""
        with self._lock:
            self._note_all()
            return self._tally.untold()

    def counts(self) -> Mapping[str, int]:
        """Every toxic that was ever armed, in words, and how often it struck."""
        with self._lock:
            self._note_all()
            return self._tally.counts()

    def traffic(self) -> Traffic:
        """What went through it."""
        with self._lock:
            connections = self._proxy.connections() if self._proxy is not None else ()
            up, down = (sum(getattr(one, side) for one in connections) for side in ("bytes_up", "bytes_down"))
            return Traffic(len(connections), up, down)

    def shown(self) -> dict[str, Json]:
        """As Toxiproxy shows it."""
        with self._lock:
            return {
                "name": self.name,
                "listen": str(self.listen),
                "upstream": str(self.upstream),
                "enabled": self.enabled,
                "toxics": [held.toxic.shown() for held in self._toxics.values()],
            }

    def _open(self) -> None:
        if self._ended:
            raise no_proxy(self.name)
        upstream = (self.upstream.host, self.upstream.port)
        try:
            self._proxy = self._host.open(upstream, port=self.listen.port, name=self.name, seed=self._seed)
        except FaultError as error:
            raise FaultError(f"listen {self.listen} for {self.upstream}: {error}; is the port taken?") from None
        self.listen = Address("127.0.0.1", self._proxy.port)
        try:
            for held in self._toxics.values():
                self._put_in(held)
        except BaseException:
            self.close()
            raise

    def _move(self, listen: Address, upstream: Address) -> None:
        if self.is_at(listen, upstream):
            return
        was_enabled = self.enabled
        self.close()
        self.listen, self.upstream = listen, upstream
        if was_enabled:
            self._open()

    def _put_in(self, held: Held) -> Held:
        assert self._proxy is not None
        held.armed = self._proxy.arm(held.toxic.fault())
        self._tally.note(held)
        return held

    def _take_out(self, held: Held) -> None:
        if held.armed is not None:
            held.armed.disarm()
        self._tally.note(held)

    def _held(self, name: str) -> Held:
        if name not in self._toxics:
            raise no_toxic(name)
        return self._toxics[name]

    def _note_all(self) -> None:
        for held in self._all():
            self._tally.note(held)

    def _all(self) -> tuple[Held, ...]:
        return (*self._toxics.values(), *([self._down] if self._down else []))
