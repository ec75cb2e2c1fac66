"""The configuration file: Toxiproxy's JSON, plus the toxics of each proxy, which its users have long asked for.

    [
      {
        "name": "shop_db",
        "listen": "127.0.0.1:15432",
        "upstream": "127.0.0.1:5432",
        "toxics": [
          {"type": "latency", "attributes": {"latency": 20, "jitter": 5}},
          {"type": "at", "attributes": {"recipe": "postgres:COMMIT#1:after"}}
        ]
      }
    ]

Toxiproxy skips keys that it does not know, "toxics" among them (its issues 281 and 447), and a file with a slip in it
starts a proxy without the fault. Here an unknown key is an error, and nothing is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.faults.proxy.toxiproxy.fields import Fields, Json, read_json
from premortem.faults.proxy.toxiproxy.refusals import Refused, bad_body, missing, toxic_exists
from premortem.faults.proxy.toxiproxy.toxics import Toxic, read_toxic

_PORTS = 65535
_LONGEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Address:
    """A host, a name or an IP address, and a port; 0 as the port of a listener is any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ProxyEntry:
    """One proxy as it is asked for. `toxics` is None where nothing is said of them."""

    name: str
    listen: Address
    upstream: Address
    enabled: bool = True
    toxics: tuple[Toxic, ...] | None = None


def read_config(path: Path) -> tuple[ProxyEntry, ...]:
    """Read a file. ConfigurationError names the file, the proxy and what is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name a JSON file of proxies") from None
    if len(data) > _LONGEST_BYTES:
        raise ConfigurationError(
            f"{path}: has {len(data)} bytes, and a configuration has up to 1 MiB; name another file"
        )
    try:
        return read_entries(read_json(data))
    except Refused as error:
        raise ConfigurationError(f"{path}: {error}") from None


def read_entries(told: Json) -> tuple[ProxyEntry, ...]:
    """A list of proxies, all of it read before any of it is used."""
    if not isinstance(told, list):
        raise bad_body("it has to be a JSON array of proxies")
    entries: list[ProxyEntry] = []
    for place, one in enumerate(told, start=1):
        try:
            entry = read_entry(one)
        except Refused as error:
            raise Refused(f"{error} at proxy {place}", error.status) from None  # "... name at proxy 2", as Toxiproxy
        if entry.name in {other.name for other in entries}:
            raise bad_body(f"two proxies are called {entry.name!r}, the second at proxy {place}")
        entries.append(entry)
    return tuple(entries)


def read_entry(told: Json) -> ProxyEntry:
    """One proxy."""
    fields = Fields(told, "proxy")
    if not (name := fields.text("name")):
        raise missing("name")
    if not (upstream := fields.text("upstream")):
        raise missing("upstream")
    listen = read_listen(fields.text("listen"))
    enabled = fields.flag("enabled", default=True)
    toxics = read_toxics(fields.take("toxics"))
    fields.take("logger")  # Toxiproxy shows this empty key of its own insides, and so it is in files made from that
    fields.finish()
    return ProxyEntry(name, listen, read_address(upstream, "upstream"), enabled, toxics)


def read_toxics(told: Json) -> tuple[Toxic, ...] | None:
    """The toxics of a proxy, in order; None where there is no word of them."""
    if told is None:
        return None
    if not isinstance(told, list):
        raise bad_body("'toxics' of a proxy has to be a JSON array")
    toxics: list[Toxic] = []
    for one in told:
        toxic = read_toxic(one)
        if toxic.name in {other.name for other in toxics}:
            raise toxic_exists(toxic.name)
        toxics.append(toxic)
    return tuple(toxics)


def read_address(told: str, what: str) -> Address:
    """HOST:PORT, an IPv6 address in brackets."""
    host, colon, port = told.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > _PORTS:
        raise bad_body(f"{what} is {told!r}, and has to be HOST:PORT, as in 127.0.0.1:5432")
    if what == "upstream" and not host:
        raise bad_body(f"{what} is {told!r}, and has to name its host, as in 127.0.0.1{told}")
    return Address(host, int(port))


def read_listen(told: str) -> Address:
    """Where to listen: always 127.0.0.1. "All interfaces" is narrowed to it, any other address refused.

    Files for containers say 0.0.0.0 or [::]; what is then listened on is in every answer.
    """
    address = read_address(told or "127.0.0.1:0", "listen")
    if address.host not in ("", "localhost", "127.0.0.1", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        raise bad_body(f"listen is {told!r}, and a proxy listens on 127.0.0.1 alone; write 127.0.0.1:{address.port}")
    return Address("127.0.0.1", address.port)
