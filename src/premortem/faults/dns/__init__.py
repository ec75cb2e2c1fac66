"""Names that cannot be resolved, in this process: `socket`'s own functions fail within a block.

Struck are `socket.getaddrinfo`, `gethostbyname` and `gethostbyname_ex`, and so asyncio, urllib, requests, httpx,
aiohttp, asyncpg and redis-py. Not struck are resolvers in C (psycopg's libpq, uvloop, curl): for those, and for other
processes, there is `NameServer`. Numbers are never asked of anybody, so they are not struck either.
"""

from __future__ import annotations

import contextvars
import ctypes
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from premortem.errors import FaultError
from premortem.faults.dns.answers import known, on_loopback
from premortem.faults.dns.server import NameServer, why_not
from premortem.faults.strike import lifted, struck

__all__ = ["NameServer", "failing", "slow", "why_not", "wrong"]

Resolve = Callable[..., Any]

_FUNCTIONS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")
_PATIENCE_S = 5.0  # resolv.conf(5): timeout
_FAULT = "name resolution"

# What the C library says to each answer of a server.
_ERRORS = {"NXDOMAIN": socket.EAI_NONAME, "NOERROR": getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

_one_at_a_time = threading.Lock()


@contextmanager
def failing(kind: str = "NXDOMAIN", *names: str, after_s: float | None = None) -> Iterator[None]:
    """Names fail as when a server answers `kind`: gaierror EAI_NONAME for NXDOMAIN, EAI_AGAIN for what may pass.

    `names` says which (without: all); `after_s` seconds later, for TIMEOUT 5 unless it is said.
    """
    error = _ERRORS.get(known(kind), socket.EAI_AGAIN)
    wait_s = after_s if after_s is not None else _PATIENCE_S if kind == "TIMEOUT" else 0.0

    def fail(_: Resolve, *_arguments: object, **_options: object) -> None:
        time.sleep(wait_s)
        raise socket.gaierror(error, _words(error))

    with _patched(fail, names, kind):
        yield


@contextmanager
def slow(delay_s: float, *names: str) -> Iterator[None]:
    """Names are resolved `delay_s` seconds late."""
    if not delay_s > 0:
        raise FaultError(f"delay_s={delay_s}: has to be above 0; it is how many seconds late the answer comes")

    def delay(resolve: Resolve, *arguments: object, **options: object) -> object:
        time.sleep(delay_s)
        return resolve(*arguments, **options)

    with _patched(delay, names, f"{delay_s:g} s late"):
        yield


@contextmanager
def wrong(address: str, *names: str) -> Iterator[None]:
    """Names lead to `address`, which has to be one of loopback."""
    on_loopback(address)

    def mislead(resolve: Resolve, _host: object, *arguments: object, **options: object) -> object:
        return resolve(address, *arguments, **options)

    with _patched(mislead, names, f"led to {address}"):
        yield


@contextmanager
def _patched(instead: Callable[..., object], names: tuple[str, ...], what: str) -> Iterator[None]:
    """`instead` is called with the function that it stands for and with its arguments, for names that are struck."""
    wanted = {name.lower().rstrip(".") for name in names}
    context = contextvars.copy_context()  # threads have no listeners of their own: strikes must be heard
    told: set[str] = set()

    def patched(resolve: Resolve) -> Resolve:
        def function(*arguments: object, **options: object) -> object:
            host = _name(arguments[0] if arguments else options.pop("host", None))
            if not host or (wanted and host not in wanted):
                return resolve(*arguments, **options)
            if host not in told:
                told.add(host)
                context.copy().run(struck, _FAULT, f"{host}: {what}")
            return instead(resolve, *(arguments or (host,)), **options)

        return function

    with _one_at_a_time:
        before = {name: getattr(socket, name) for name in _FUNCTIONS}
        for name, resolve in before.items():
            setattr(socket, name, patched(resolve))
    try:
        yield
    finally:
        with _one_at_a_time:
            for name, resolve in before.items():
                setattr(socket, name, resolve)
        lifted(_FAULT, what)


def _name(host: object) -> str:
    """The name that would be asked for; empty where nobody is asked: a number, or no host at all."""
    text = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else host
    if not isinstance(text, str) or not text:
        return ""
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text.lower().rstrip(".")
    return ""


def _words(error: int) -> str:
    """What the C library calls it."""
    say = ctypes.CDLL(None).gai_strerror
    say.restype = ctypes.c_char_p
    words: bytes = say(error)
    return words.decode()
