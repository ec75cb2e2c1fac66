"""What may be wrong with TLS: what a server of each kind shows, and how it treats a connection."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults.tls.certificates import Authority
from premortem.ports import Clock

_BODY = b"ok"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
_LONGER = 100  # bytes that a cut answer announces and does not send

KINDS: Mapping[str, str] = {
    "healthy": "a valid certificate for localhost",
    "expired": "a certificate that expired yesterday",
    "not_yet_valid": "a certificate that is valid from tomorrow on",
    "wrong_host": "a certificate for another host",
    "self_signed": "a certificate that only itself has signed",
    "untrusted_ca": "a certificate of an authority that nobody knows",
    "old_protocol": "nothing newer than TLS 1.1",
    "hangs": "no answer to the client's hello",
    "closes": "the connection is closed in the middle of the handshake",
    "cuts": "the connection is closed in the middle of the answer",
}
"""What may be wrong, each in words."""


Tell = Callable[[], None]


def _served(connection: socket.socket, context: ssl.SSLContext | None, tell: Tell) -> None:
    """The handshake with what there is, then an answer, should the client accept it."""
    assert context is not None
    connection.recv(1, socket.MSG_PEEK)  # the hello has come, so the handshake is one, whatever comes of it
    tell()
    with context.wrap_socket(connection, server_side=True) as channel:
        channel.recv(1 << 16)
        channel.sendall(_ANSWER % (len(_BODY), _BODY))
        with suppress(OSError):
            channel.unwrap()


def _hung(connection: socket.socket, _: object, tell: Tell) -> None:
    """Take what comes, and say nothing until the client gives up or we are closed."""
    connection.settimeout(None)
    connection.recv(1)
    tell()
    while connection.recv(1 << 16):
        pass


def _closed(connection: socket.socket, _: object, tell: Tell) -> None:
    connection.recv(1 << 16)
    tell()


def _cut(connection: socket.socket, context: ssl.SSLContext | None, tell: Tell) -> None:
    """Half of an answer, then the end: without the goodbye by which TLS tells an end from a cut."""
    assert context is not None
    with context.wrap_socket(connection, server_side=True) as channel:
        channel.recv(1 << 16)
        channel.sendall(_ANSWER % (len(_BODY) + _LONGER, _BODY))
        tell()


_OTHERWISE: Mapping[str, Callable[[socket.socket, ssl.SSLContext | None, Tell], None]] = {
    "hangs": _hung,
    "closes": _closed,
    "cuts": _cut,
}


def serve(kind: str, connection: socket.socket, context: ssl.SSLContext | None, tell: Tell) -> None:
    """Treat one connection as a server of that kind does; `tell` is called when the client has met it."""
    _OTHERWISE.get(kind, _served)(connection, context, tell)


def contexts(folder: Path, clock: Clock) -> tuple[dict[str, ssl.SSLContext], Path]:
    """What each kind shows, and the authority's file."""
    authority = Authority(folder, clock.now())
    stranger = Authority(folder, clock.now(), "stranger")
    healthy = authority.issue("healthy")
    certificates = {
        "healthy": healthy,
        "expired": authority.expired(),
        "not_yet_valid": authority.not_yet_valid(),
        "wrong_host": authority.wrong_host(),
        "self_signed": authority.self_signed(),
        "untrusted_ca": stranger.issue("untrusted"),
        "old_protocol": healthy,
        "cuts": healthy,
    }
    made = {}
    for kind, certificate in certificates.items():
        context = made[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        made["old_protocol"].minimum_version = ssl.TLSVersion.TLSv1
        made["old_protocol"].maximum_version = ssl.TLSVersion.TLSv1_1
    made["old_protocol"].set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL 3 allows TLS 1.1 no longer above that
    return made, authority.path


def known(kind: str) -> str:
    """`kind`, if it is one. FaultError where it is not."""
    if kind not in KINDS:
        raise FaultError(f"kind={kind!r}: is none; choose one of {', '.join(KINDS)}")
    return kind
