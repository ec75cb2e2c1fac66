"""A variable with the URL of a server on loopback, and the same URL through a proxy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from premortem.errors import ConfigurationError
from premortem.model.recipe import World

_PROTOCOLS: dict[str, World] = {
    "postgresql": "postgres", "postgres": "postgres", "redis": "redis", "valkey": "redis", "http": "http",
}  # fmt: skip
_PORTS: dict[World, int] = {"postgres": 5432, "redis": 6379, "http": 80}


@dataclass(frozen=True, slots=True)
class Wire:
    """One server: which variable names it, and what the variable says."""

    variable: str
    protocol: World
    url: str

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str] = os.environ) -> Self:
        """`VARIABLE`, which has to be set. ConfigurationError where it is not, or is the URL of nothing we know."""
        url = environment.get(text, "")
        if not url:
            raise ConfigurationError(
                f"--wire {text}: the variable is not set; set it to the URL of a server on loopback"
            )
        wire = cls(text, protocol_of(url), url)
        try:
            wire.address  # noqa: B018 - it is asked for what is wrong with it
        except ValueError as error:
            raise ConfigurationError(
                f"--wire {text}: its URL names no port ({error}); write one up to 65535"
            ) from error
        return wire

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. libpq also takes them from the URL's query (`?host=127.0.0.1&port=5433`)."""
        parts = urlsplit(self.url)
        asked = dict(parse_qsl(parts.query)) if self.protocol == "postgres" else {}
        host = asked.get("host") or parts.hostname or "127.0.0.1"
        if host.startswith("/"):
            raise ConfigurationError(
                f"{self.variable}: {host} is a socket of the file system, and the proxy is on TCP; "
                "let the server listen on 127.0.0.1 and name that"
            )
        return host, int(asked.get("port") or parts.port or _PORTS[self.protocol])

    def through(self, port: int) -> str:
        """The URL with `port` on 127.0.0.1 in place of the server."""
        parts = urlsplit(self.url)
        account, at, _ = parts.netloc.rpartition("@")
        query = parts.query
        if self.protocol == "postgres":
            query = urlencode([pair for pair in parse_qsl(query) if pair[0] not in ("host", "port", "hostaddr")])
        return SplitResult(parts.scheme, f"{account}{at}127.0.0.1:{port}", parts.path, query, parts.fragment).geturl()


def protocol_of(url: str) -> World:
    """What is spoken there. ConfigurationError where nobody here understands it."""
    scheme = urlsplit(url).scheme
    if scheme in _PROTOCOLS:
        return _PROTOCOLS[scheme]
    known = ", ".join(_PROTOCOLS)
    raise ConfigurationError(f"URL with {scheme or 'no'} scheme: is not understood; it has to be one of {known}")
