"""Requests in any order, on the real proxy, beside a model that is a dict: what is listed is what was asked for."""

from __future__ import annotations

import json
import socket
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.faults.proxy import ProxyHost
from premortem.faults.proxy.toxiproxy import Proxies, api

NAMES = st.sampled_from(["a", "b"])
TOXICS = st.sampled_from(["x", "y"])
REQUESTS = st.one_of(
    st.tuples(st.just("create"), NAMES, st.booleans()),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("enable"), NAMES, st.booleans()),
    st.tuples(st.just("add"), NAMES, TOXICS, st.sampled_from(["latency", "refuse", "reset_peer", "down"])),
    st.tuples(st.just("change"), NAMES, TOXICS, st.floats(0, 1)),
    st.tuples(st.just("remove"), NAMES, TOXICS),
    st.tuples(st.just("reset")),
)


class Model:
    """What Toxiproxy promises: proxies by name, each enabled or not, with toxics by name."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.proxies: dict[str, tuple[bool, dict[str, tuple[str, float]]]] = {}

    def request(self, what: str, *told: Any) -> tuple[str, str, object, int]:
        """The request, and the status that has to come."""
        if what == "reset":
            self.proxies = {name: (True, {}) for name in self.proxies}
            return "POST", "/reset", None, 204
        name, *rest = told
        if what == "create":
            return self._create(name, rest[0])
        if name not in self.proxies:
            return self._of_none(what, name, rest)
        return getattr(self, f"_{what}")(name, *rest)  # type: ignore[no-any-return] # one of those below

    def _create(self, name: str, enabled: bool) -> tuple[str, str, object, int]:
        told = {"name": name, "upstream": self.upstream, "enabled": enabled}
        status = 409 if name in self.proxies else 201
        self.proxies.setdefault(name, (enabled, {}))
        return "POST", "/proxies", told, status

    @staticmethod
    def _of_none(what: str, name: str, rest: list[Any]) -> tuple[str, str, object, int]:
        """404, whatever is wanted of it."""
        path = f"/proxies/{name}" + {"add": "/toxics", "change": "/toxics/x", "remove": "/toxics/x"}.get(what, "")
        method = {"delete": "DELETE", "remove": "DELETE"}.get(what, "POST")
        return method, path, {"type": "latency", "name": str(rest)}, 404

    def _delete(self, name: str) -> tuple[str, str, object, int]:
        del self.proxies[name]
        return "DELETE", f"/proxies/{name}", None, 204

    def _enable(self, name: str, enabled: bool) -> tuple[str, str, object, int]:
        self.proxies[name] = (enabled, self.proxies[name][1])
        return "PATCH", f"/proxies/{name}", {"enabled": enabled}, 200

    def _add(self, name: str, toxic: str, type_: str) -> tuple[str, str, object, int]:
        toxics = self.proxies[name][1]
        status = 409 if toxic in toxics else 200
        toxics.setdefault(toxic, (type_, 1.0))
        return "POST", f"/proxies/{name}/toxics", {"name": toxic, "type": type_}, status

    def _change(self, name: str, toxic: str, toxicity: float) -> tuple[str, str, object, int]:
        toxics = self.proxies[name][1]
        if toxic in toxics:
            toxics[toxic] = (toxics[toxic][0], toxicity)
        return "PATCH", f"/proxies/{name}/toxics/{toxic}", {"toxicity": toxicity}, 200 if toxic in toxics else 404

    def _remove(self, name: str, toxic: str) -> tuple[str, str, object, int]:
        gone = self.proxies[name][1].pop(toxic, None)
        return "DELETE", f"/proxies/{name}/toxics/{toxic}", None, 204 if gone else 404


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(REQUESTS, max_size=20))
def test_what_is_listed_is_what_was_asked_for(host: ProxyHost, upstream: Any, requests: list[tuple[Any, ...]]) -> None:
    proxies, model = Proxies(host), Model(upstream.name)
    try:
        for request in requests:
            method, path, told, status = model.request(*request)
            answer = api.answer(proxies, method, path, b"" if told is None else json.dumps(told).encode())
            assert answer.status == status, answer.body
            listed = json.loads(api.answer(proxies, "GET", "/proxies", b"").body)
            shown = {
                name: (one["enabled"], {toxic["name"]: (toxic["type"], toxic["toxicity"]) for toxic in one["toxics"]})
                for name, one in listed.items()
            }
            assert shown == model.proxies
            for name, (enabled, toxics) in model.proxies.items():
                closed = any(type_ in {"refuse", "down"} and share == 1 for type_, share in toxics.values())
                assert _listens(listed[name]["listen"]) == (enabled and not closed)
    finally:
        proxies.close()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=20).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # taken, and reset before connect came back
        return True
    except OSError:  # port 0: it never was opened
        return False
    return True


PATHS = st.lists(
    st.sampled_from(["proxies", "a", "toxics", "x", "populate", "reset", "version", "metrics", "", "%", "é"])
)
BODIES = st.binary(max_size=40) | st.sampled_from(
    [b"[]", b"{}", b'{"name":"a","upstream":"127.0.0.1:1"}', b'[{"name":"a","upstream":"[::1]:1"}]', b'{"type":"at"}']
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT", "\x00"]), PATHS, BODIES)
def test_any_request_is_answered(host: ProxyHost, method: str, path: list[str], body: bytes) -> None:
    proxies = Proxies(host)
    try:
        answer = api.answer(proxies, method, f"/{'/'.join(path)}", body)
        assert answer.status in {200, 201, 204, 400, 404, 405}
        if answer.status == 400:
            assert json.loads(answer.body)["status"] == 400
    finally:
        proxies.close()
