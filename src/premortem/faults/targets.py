"""What a fault may strike: loopback always, anything else only where an allow-list file names it.

Law: a name is resolved once, and the answer is what is struck, even if DNS changes its mind between check and strike.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from premortem.errors import FaultError
from premortem.faults.allow_list import AllowList, unmapped
from premortem.ports import Clock, SystemClock

__all__ = ["AllowList", "check_target", "resolved"]

Resolve = Callable[[str], tuple[str, ...]]


def check_target(
    host: str, port: int, allow: AllowList | None = None, *, resolve: Resolve | None = None, clock: Clock | None = None
) -> str:
    """The address at which `host`:`port` may be struck: use it, and not the name, from then on.

    FaultError with an explanation unless `host` is on loopback alone, or `allow` has a permission for it.
    """
    if not 1 <= port <= 65535:  # noqa: PLR2004 - said in words
        raise FaultError(f"{host}:{port}: is no port; it has to be from 1 to 65535; name the server's own")
    found = _sorted((resolve or resolved)(host), host)
    loopback = [one for one in found if ipaddress.ip_address(one).is_loopback]
    if len(loopback) == len(found):
        return found[0]
    if loopback:
        raise FaultError(
            f"{host}: is {' and '.join(found)}, on loopback and elsewhere at once; name the address that is meant"
        )
    if allow is None:
        raise FaultError(
            f"{host}:{port} ({found[0]}): is not on loopback, and faults strike only there; use a server of your own "
            "machine, or name it in an allow-list file and pass that: docs/faults/safety.md"
        )
    return allow.address_of(host, port, found, (clock or SystemClock()).now().date())


def resolved(host: str) -> tuple[str, ...]:
    """Every address that the system has for `host`."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FaultError(f"{host!r}: has no address ({error}); name a host that resolves") from None
    return tuple(str(answer[4][0]) for answer in answers)


def _sorted(addresses: tuple[str, ...], host: str) -> tuple[str, ...]:
    """Without doubles, IPv4 first and the lowest first, so that every run picks the same one."""
    found = {unmapped(ipaddress.ip_address(address.partition("%")[0])) for address in addresses}
    if not found:
        raise FaultError(f"{host!r}: has no address; name a host that resolves")
    if vague := next((one for one in found if one.is_unspecified or one.is_multicast), None):
        raise FaultError(f"{host} ({vague}): stands for no single host; write 127.0.0.1 for this machine")
    return tuple(str(one) for one in sorted(found, key=lambda one: (one.version, int(one))))
