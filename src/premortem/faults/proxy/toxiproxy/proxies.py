"""All proxies of one run, by name: created, replaced, deleted, and what all of them hit."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from premortem.errors import FaultError
from premortem.faults.proxy import ProxyHost
from premortem.faults.proxy.toxiproxy.config import Address, ProxyEntry
from premortem.faults.proxy.toxiproxy.named_proxy import NamedProxy
from premortem.faults.proxy.toxiproxy.refusals import Refused, no_proxy, proxy_exists
from premortem.faults.proxy.toxiproxy.tally import UNTOLD, Hit
from premortem.faults.targets import AllowList, check_target


class Proxies:
    """The lock guards the names alone; what takes longer is done under the lock of the proxy that it is done to."""

    def __init__(self, host: ProxyHost, *, allow: AllowList | None = None, seed: int = 0) -> None:
        self._host = host
        self._allow = allow
        self.seed = seed
        self._lock = threading.Lock()
        self._proxies: dict[str, NamedProxy] = {}
        self._gone_hits: deque[Hit] = deque(maxlen=UNTOLD)
        self._gone_counts: Counter[tuple[str, str]] = Counter()

    def all(self) -> Mapping[str, NamedProxy]:
        """By name, as they are now."""
        with self._lock:
            return MappingProxyType(dict(self._proxies))

    def get(self, name: str) -> NamedProxy:
        """One of them; Refused (404) where there is none of that name."""
        with self._lock:
            if name not in self._proxies:
                raise no_proxy(name)
            return self._proxies[name]

    def create(self, entry: ProxyEntry) -> NamedProxy:
        """A new one, with its toxics from its first connection on."""
        self.check(entry.upstream)
        proxy = NamedProxy(self._host, entry, self.seed)
        with self._lock:
            if entry.name in self._proxies:
                raise proxy_exists(entry.name)
            self._proxies[entry.name] = proxy
        try:
            if entry.enabled:
                proxy.enable()
        except BaseException:
            with self._lock:
                self._proxies.pop(entry.name, None)
            raise
        return proxy

    def populate(self, entries: Iterable[ProxyEntry]) -> list[NamedProxy]:
        """Have these proxies, beside those that there are; one that is as it is wanted is left alone.

        Every upstream is checked before anything is changed.
        """
        entries = tuple(entries)
        for entry in entries:
            self.check(entry.upstream)
        return [self._have(entry) for entry in entries]

    def delete(self, name: str) -> None:
        """Close one, and forget it."""
        proxy = self.get(name)
        with self._lock:
            if self._proxies.get(name) is not proxy:
                raise no_proxy(name)
            del self._proxies[name]
        proxy.end()
        hits, counts = proxy.hits(), proxy.counts()
        with self._lock:
            self._gone_hits.extend(hits)
            self._gone_counts.update({(name, toxic): count for toxic, count in counts.items()})

    def reset(self) -> None:
        """Enable all of them, without toxics."""
        for proxy in self.all().values():
            proxy.reset()

    def check(self, upstream: Address) -> None:
        """Refuse a server that is not ours to strike."""
        try:
            check_target(upstream.host, upstream.port, self._allow)
        except FaultError as error:
            raise Refused(f"upstream {error}") from None

    def hits(self) -> list[Hit]:
        """The strikes since the last time this was asked, those of deleted proxies included."""
        with self._lock:
            gone = list(self._gone_hits)
            self._gone_hits.clear()
        return [*gone, *(hit for proxy in self.all().values() for hit in proxy.hits())]

    def counts(self) -> dict[tuple[str, str], int]:
        """Every toxic that was ever armed, as (proxy, toxic in words), and how often it struck."""
        with self._lock:
            found = Counter(self._gone_counts)
        for proxy in self.all().values():
            found.update({(proxy.name, toxic): count for toxic, count in proxy.counts().items()})
        return dict(found)

    def close(self) -> None:
        """Delete all of them."""
        for name in self.all():
            self.delete(name)

    def _have(self, entry: ProxyEntry) -> NamedProxy:
        existing = self.all().get(entry.name)
        if existing is not None and existing.is_at(entry.listen, entry.upstream):
            if entry.toxics is not None:
                existing.set_toxics(entry.toxics)
            return existing
        if existing is not None:
            self.delete(entry.name)
        return self.create(entry)
