"""TLS that is wrong in a named way: what a client that checks makes of it, and how it changes under way."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from premortem.errors import FaultError
from premortem.faults import needs, tls
from premortem.faults.tls import KINDS, Server
from premortem.ports import ManualClock

NEEDS = ("tls",)

Told = Callable[[], list[tuple[str, str]]]

VERIFY = {
    "expired": "certificate has expired",
    "not_yet_valid": "certificate is not yet valid",
    "wrong_host": "Hostname mismatch",
    "self_signed": "self.signed certificate",
    "untrusted_ca": "unable to get local issuer certificate",
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    if reason := needs.why_not("tls"):
        pytest.skip(reason)
    with Server() as server:
        yield server


def get(server: Server, context: ssl.SSLContext | None = None, timeout_s: float = 30) -> bytes:
    trusting = context or server.trusting()
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=timeout_s, context=trusting)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_the_healthy_one_is_trusted_by_who_trusts_its_authority(shared: Server) -> None:
    assert get(shared) == b"ok"
    with pytest.raises(ssl.SSLCertVerificationError):
        get(shared, ssl.create_default_context())


@pytest.mark.parametrize("kind", VERIFY)
def test_a_bad_certificate_is_refused_for_its_own_reason(kind: str, told: Told) -> None:
    with Server() as server:
        with server.swapped(kind):
            for _ in range(2):
                with pytest.raises(ssl.SSLCertVerificationError, match=VERIFY[kind]):
                    get(server)
        assert get(server) == b"ok"
    assert told() == [("struck", "tls"), ("lifted", "tls")]


def test_who_does_not_check_notices_nothing(shared: Server) -> None:
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    with shared.swapped("expired"):
        assert get(shared, blind) == b"ok"


def test_an_old_protocol_is_refused(shared: Server) -> None:
    with shared.swapped("old_protocol"), pytest.raises(ssl.SSLError, match=r"(?i)protocol|legacy sigalg"):
        get(shared)


def test_a_handshake_that_hangs_one_that_is_closed_and_an_answer_that_is_cut(shared: Server) -> None:
    with shared.swapped("hangs"), pytest.raises(TimeoutError):
        get(shared, timeout_s=0.2)
    with shared.swapped("closes"), pytest.raises((ssl.SSLError, ConnectionError)):
        get(shared)
    with shared.swapped("cuts"), pytest.raises((http.client.IncompleteRead, ssl.SSLError)):
        get(shared)
    assert get(shared) == b"ok"


def test_a_certificate_expires_while_the_server_runs(told: Told) -> None:
    with Server() as server:
        context = server.trusting()
        assert get(server, context) == b"ok"
        assert told() == []
        server.swap("expired")
        assert told() == []
        with pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
            get(server, context)
        assert (server.kind, told()) == ("expired", [("struck", "tls")])


def test_certificates_are_dated_by_the_clock_that_is_given() -> None:
    clock = ManualClock(datetime(2001, 2, 3, tzinfo=UTC))
    with Server(clock=clock) as server, pytest.raises(ssl.SSLCertVerificationError, match="has expired"):
        get(server)


def test_nobody_waits_for_a_client_that_hangs_when_it_is_closed() -> None:
    server = Server("hangs")
    with pytest.raises(TimeoutError):
        get(server, timeout_s=0.1)
    place = Path(server.ca).parent
    server.close()
    server.close()
    assert not place.exists()


def test_keys_are_for_us_alone(shared: Server) -> None:
    assert shared.ca.parent.stat().st_mode & 0o077 == 0


def test_what_is_no_kind_is_refused(shared: Server) -> None:
    with pytest.raises(FaultError, match="choose one of healthy, expired"):
        Server("rotten")
    with pytest.raises(FaultError, match="choose one of"):
        shared.swap("rotten")
    with pytest.raises(FaultError, match="already"), shared.swapped("healthy"):
        pass
    assert set(VERIFY) < set(KINDS)
    assert tls.why_not() == ""
