"""A real HTTP server on loopback that misbehaves on demand: slow, failing, and counting who came when.

It stands for the service that a subject depends on. Every request has a thread of its own, so a slow answer holds up
nobody but its caller; the faults strike with the first request that they change.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from premortem.faults.strike import lifted, struck

_TOGETHER_S = 5.0


@dataclass(slots=True)
class Behaviour:
    """How a path is answered: after `delay_s` seconds, with `status`, `headers` and `body`.

    `gate`: answers wait for each other, and leave together.
    """

    delay_s: float = 0.0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    fault: str = ""
    gate: threading.Barrier | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # the default of 5 makes the sixth of a crowd wait a second for its SYN to be sent again


class WebServer:
    """Serves 127.0.0.1:`port` until it is closed; `url` is its address without a path."""

    def __init__(self) -> None:
        self._behaviour: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._inside = 0
        self._told: set[str] = set()
        self.peak = 0
        """How many requests were being answered at once, at most."""
        self.requests: list[tuple[float, str]] = []
        """When (monotonic seconds) which path was asked for, in order."""
        self._context = contextvars.copy_context()  # threads have no listeners of their own: strikes must be heard
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="premortem-web")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def slow(self, delay_s: float, path: str = "") -> Iterator[None]:
        """Answers take `delay_s` seconds; of one `path`, or of all."""
        with self._behaving(path, Behaviour(delay_s=delay_s, fault=f"slow: answers take {delay_s:g} s")):
            yield

    @contextmanager
    def failing(
        self, status: int = 503, path: str = "", *, headers: dict[str, str] | None = None, together: int = 1
    ) -> Iterator[None]:
        """Answers are errors with `status` and `headers`; `together` so many of them leave at the same moment."""
        gate = threading.Barrier(together, timeout=_TOGETHER_S) if together > 1 else None
        fault = f"failing: answers are {status}"
        with self._behaving(path, Behaviour(0.0, status, headers or {}, b"no", fault, gate)):
            yield

    def count(self, path: str = "") -> int:
        """How many requests came, for one `path` or in all."""
        return sum(1 for _, asked in list(self.requests) if path in ("", asked))

    @contextmanager
    def _behaving(self, path: str, behaviour: Behaviour) -> Iterator[None]:
        self._told.discard(behaviour.fault)
        before = self._behaviour.get(path)
        self._behaviour[path] = behaviour
        try:
            yield
        finally:
            if before is None:
                del self._behaviour[path]
            else:
                self._behaviour[path] = before
            lifted("web server", behaviour.fault)

    def _behaviour_of(self, path: str) -> Behaviour:
        behaviour = self._behaviour.get(path) or self._behaviour.get("") or Behaviour()
        with self._lock:
            new = bool(behaviour.fault) and behaviour.fault not in self._told
            self._told.add(behaviour.fault)
        if new:  # once for each fault: the first request that it changed is the strike
            self._context.copy().run(struck, "web server", f"{behaviour.fault}; first for {path}")
        return behaviour

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with server._lock:
                    server.requests.append((time.monotonic(), self.path))
                    server._inside += 1
                    server.peak = max(server.peak, server._inside)
                try:
                    self._answer(server._behaviour_of(self.path))
                finally:
                    with server._lock:
                        server._inside -= 1

            def _answer(self, behaviour: Behaviour) -> None:
                time.sleep(behaviour.delay_s)
                if behaviour.gate is not None:
                    with suppress(threading.BrokenBarrierError):  # fewer came than were waited for: they go alone
                        behaviour.gate.wait()
                with suppress(BrokenPipeError, ConnectionResetError):  # the caller has given up: that is the point
                    self.send_response(behaviour.status)
                    for name, value in behaviour.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(behaviour.body)))
                    self.end_headers()
                    self.wfile.write(behaviour.body)

            def log_message(self, *_: object) -> None:
                """Say nothing: what matters is in `requests` and in the events."""

        return Handler
