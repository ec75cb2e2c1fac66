"""The allow-list file: which hosts beside loopback may be struck, at which port, until when and why.

Laws:
- A permission has an end, a reason and one port; there is no wildcard, no network and no "all ports".
- A host whose name looks like production needs a sentence of its own.
- A name is pinned: the address that it had at the first check is the only one that is struck under it.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Self

from premortem.errors import ConfigurationError, FaultError

_EXAMPLE = '''
    [[target]]
    host = "10.0.0.5"
    port = 5432
    until = "2026-12-01"
    reason = "staging, ours until then"'''
_REQUIRED: dict[str, type | tuple[type, ...]] = {"host": str, "port": int, "until": (str, date), "reason": str}
_OPTIONAL: dict[str, type | tuple[type, ...]] = {"i_know_this_is_production": bool}
_LONGEST_NAME = 253
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_PRODUCTION = re.compile(r"(?<![a-z])(prod|prd|live|primary)|(prod|prd|live|primary|production)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Target:
    """One permission: this port of this host, up to and including the day `until` (UTC), for this reason."""

    host: str
    port: int
    until: date
    reason: str
    i_know_this_is_production: bool = False


@dataclass(frozen=True, slots=True)
class AllowList:
    """The permissions of one file, and the addresses that its names were found to have."""

    path: Path
    targets: tuple[Target, ...]
    _pinned: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file of `[[target]]` tables. ConfigurationError says which entry is wrong, and how."""
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); name an allow-list file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: is no TOML ({error}); write:{_EXAMPLE}") from None
        entries = told.get("target")
        if set(told) != {"target"} or not isinstance(entries, list):
            raise ConfigurationError(f"{path}: has to hold [[target]] tables and nothing else; write:{_EXAMPLE}")
        return cls(path, tuple(_target(f"{path}, target {n}", entry) for n, entry in enumerate(entries, 1)))

    def address_of(self, host: str, port: int, found: tuple[str, ...], today: date) -> str:
        """The one address of `found` that a permission covers; FaultError says why there is none."""
        name = _plain(host)
        for target in self.targets:
            if target.port == port and (target.host == name or target.host in found):
                self._still_holds(target, name, today)
                if target.host in found:
                    return target.host
                return self._pin(name, found)
        raise FaultError(
            f"{host}:{port}: is not on loopback and not in {self.path}, and faults strike nothing else; "
            f"if it is yours to break, add:{_EXAMPLE.replace('10.0.0.5', name).replace('5432', str(port))}"
        )

    def _pin(self, name: str, found: tuple[str, ...]) -> str:
        """The lowest address at the first look, the same one ever after."""
        pinned = self._pinned.setdefault(name, found[0])
        if pinned not in found:
            raise FaultError(
                f"{name}: was {pinned} when it was first checked and is {', '.join(found)} now, so it may be another "
                "machine; read the allow-list again if that is meant"
            )
        return pinned

    def _still_holds(self, target: Target, name: str, today: date) -> None:
        if today > target.until:
            raise FaultError(
                f"{target.host}:{target.port}: its permission in {self.path} ended on {target.until}; "
                "remove it, or give it a later `until` if it is still yours to break"
            )
        looks = next((one for one in (name, target.host) if looks_like_production(one)), None)
        if looks and not target.i_know_this_is_production:
            raise FaultError(
                f"{looks}:{target.port}: looks like production, and that takes more than a permission; "
                f"choose another target, or add i_know_this_is_production = true to its entry in {self.path}"
            )


def looks_like_production(host: str) -> bool:
    """Whether a part of the name begins or ends with prod, prd, live or primary: db-prod1, live.example.com."""
    return bool(_PRODUCTION.search(host.lower()))


def unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """::ffff:10.0.0.5 is 10.0.0.5."""
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _target(where: str, entry: object) -> Target:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where}: {entry!r} is no table; write:{_EXAMPLE}")
    known = _REQUIRED | _OPTIONAL
    for key in entry:
        if key not in known:
            raise ConfigurationError(f"{where}: {key!r} is not known; an entry has {', '.join(known)}")
    for key in _REQUIRED:
        if key not in entry:
            raise ConfigurationError(f"{where}: has no {key!r}; write:{_EXAMPLE}")
    for key, value in entry.items():
        if not isinstance(value, known[key]) or (isinstance(value, bool) and known[key] is not bool):
            raise ConfigurationError(f"{where}: {key}={value!r} has the wrong type; write:{_EXAMPLE}")
    return Target(
        _host(where, entry["host"]),
        _port(where, entry["port"]),
        _until(where, entry["until"]),
        _reason(where, entry["reason"]),
        entry.get("i_know_this_is_production", False),
    )


def _host(where: str, value: str) -> str:
    plain = _plain(value.strip())
    try:
        address = unmapped(ipaddress.ip_address(plain))
    except ValueError:
        # A last label of digits alone would be read as an address in some old form ("10.5" is 10.0.0.5).
        if len(plain) > _LONGEST_NAME or not _NAME.fullmatch(plain) or plain.rpartition(".")[2].isdigit():
            raise ConfigurationError(
                f"{where}: host={value!r} has to be one name or one address; no wildcard, network, port or URL"
            ) from None
        return plain
    if address.is_unspecified or address.is_multicast:
        raise ConfigurationError(f"{where}: host={value!r} stands for no single host; name one address")
    return str(address)


def _port(where: str, value: int) -> int:
    if not 1 <= value <= 65535:  # noqa: PLR2004 - said in words
        raise ConfigurationError(f"{where}: port={value} has to be from 1 to 65535; name the server's own")
    return value


def _until(where: str, value: str | date) -> date:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else date(value.year, value.month, value.day)
    except ValueError:
        raise ConfigurationError(f'{where}: until={value!r} is no day; write until = "2026-12-01"') from None


def _reason(where: str, value: str) -> str:
    if not value.strip():
        raise ConfigurationError(f"{where}: reason is empty; say why this host may be broken, and by whose leave")
    return value.strip()
