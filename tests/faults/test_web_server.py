"""The misbehaving web server: real requests over loopback, faults told when they strike and gone when undone."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from premortem.events import Event, listening
from premortem.faults.web_server import WebServer


@pytest.fixture
def told() -> Iterator[list[Event]]:
    events: list[Event] = []
    with listening(events.append):
        yield events


@pytest.fixture
def server(told: list[Event]) -> Iterator[WebServer]:  # noqa: ARG001 - the server's threads hear as its maker does
    with WebServer() as server:
        yield server


def ask(server: WebServer, path: str = "/") -> tuple[int, bytes, str | None]:
    try:
        with urllib.request.urlopen(server.url + path) as answer:
            return answer.status, answer.read(), None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("Retry-After")


def strikes(told: list[Event]) -> list[object]:
    return [event.get("what") for event in told if event.name == "fault.struck"]


def test_it_answers_and_counts(server: WebServer) -> None:
    assert [ask(server, "/a"), ask(server, "/b")] == [(200, b"ok", None)] * 2
    assert (server.count(), server.count("/a"), server.peak) == (2, 1, 1)


def test_a_failing_path_fails_alone_and_tells_its_first_victim(server: WebServer, told: list[Event]) -> None:
    with server.failing(503, "/orders", headers={"Retry-After": "7"}):
        assert strikes(told) == []
        assert ask(server, "/users")[0] == 200
        assert [ask(server, "/orders"), ask(server, "/orders")] == [(503, b"no", "7")] * 2
    assert strikes(told) == ["failing: answers are 503; first for /orders"]
    assert ask(server, "/orders")[0] == 200


def test_a_slow_answer_is_late_and_holds_up_nobody_else(server: WebServer, told: list[Event]) -> None:
    with server.slow(0.2, "/slow"):
        began = time.monotonic()
        late = threading.Thread(target=ask, args=(server, "/slow"))
        late.start()
        ask(server, "/quick")
        assert time.monotonic() - began < 0.2
        late.join()
        assert time.monotonic() - began >= 0.2
    assert strikes(told) == ["slow: answers take 0.2 s; first for /slow"]


def test_answers_that_wait_for_each_other_leave_together(server: WebServer) -> None:
    ends: list[float] = []

    def visit() -> None:
        ask(server)
        ends.append(time.monotonic())

    threads = [threading.Thread(target=visit) for _ in range(3)]
    with server.failing(503, together=3):
        for thread in threads:
            last = time.monotonic()
            thread.start()
            thread.join(0.05)  # until the third has come, nobody is answered
        for thread in threads:
            thread.join()
    assert min(ends) >= last
    assert server.peak == 3


def test_faults_of_one_path_can_be_nested(server: WebServer) -> None:
    with server.failing(503):
        with server.failing(429):
            assert ask(server)[0] == 429
        assert ask(server)[0] == 503
    assert ask(server)[0] == 200
