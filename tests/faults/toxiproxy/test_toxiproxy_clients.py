"""Clients of Toxiproxy at work, unchanged: the one from PyPI, and what those for other languages send on the wire."""

from __future__ import annotations

import json
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

with warnings.catch_warnings():  # it leans on `future`, which warns of what it is itself made of
    warnings.simplefilter("ignore")
    import toxiproxy  # type: ignore[import-untyped]
    from toxiproxy.exceptions import (  # type: ignore[import-untyped]
        InvalidToxic,
        NotFound,
        ProxyExists,
    )

Connect = Callable[[tuple[str, int]], socket.socket]


@pytest.fixture
def client(api: Any) -> Iterator[Any]:
    """The client of PyPI, whose address is the class's."""
    server = toxiproxy.Toxiproxy()
    server.update_api_consumer(api.server.address.host, api.server.address.port)
    yield server
    server.update_api_consumer("127.0.0.1", 8474)


def _address(proxy: Any) -> tuple[str, int]:
    host, _, port = proxy.listen.rpartition(":")
    return host, int(port)


def test_pypi_creates_and_destroys(client: Any, upstream: Any, connect: Connect) -> None:
    assert client.running()
    assert json.loads(client.version())["version"]
    proxy = client.create(upstream=upstream.name, name="shop")
    assert (proxy.name, proxy.enabled, proxy.upstream) == ("shop", True, upstream.name)
    assert list(client.proxies()) == ["shop"]
    assert client.get_proxy("other") is None
    one = connect(_address(proxy))
    one.sendall(b"x")
    assert one.recv(1) == b"x"
    assert client.destroy(proxy)
    assert client.proxies() == {}
    with pytest.raises(NotFound):
        proxy.destroy()


def test_pypi_takes_a_proxy_down(client: Any, upstream: Any, connect: Connect) -> None:
    proxy = client.create(upstream=upstream.name, name="shop")
    with proxy.down(), pytest.raises(ConnectionRefusedError):
        connect(_address(proxy))
    connect(_address(proxy)).sendall(b"x")


def test_pypi_adds_every_toxic_of_toxiproxy(client: Any, upstream: Any) -> None:
    proxy = client.create(upstream=upstream.name, name="shop")
    attributes: dict[str, dict[str, int]] = {
        "latency": {"latency": 1000, "jitter": 50},
        "bandwidth": {"rate": 64},
        "slow_close": {"delay": 10},
        "timeout": {"timeout": 100},
        "reset_peer": {"timeout": 100},
        "slicer": {"average_size": 10, "size_variation": 3, "delay": 100},
        "limit_data": {"bytes": 100},
        "black_hole": {"close_after": 0},
        "half_open": {},
        "refuse": {},
        "corrupt": {"every_bytes": 5},
        "fail_first": {"connections": 2},
    }
    for type_, told in attributes.items():
        proxy.add_toxic(type=type_, attributes=told)
        proxy.add_toxic(type=type_, name=f"{type_}_up", stream="upstream", toxicity=0.5, attributes=told)
    toxics = proxy.toxics()
    assert len(toxics) == 2 * len(attributes)
    for type_, told in attributes.items():
        toxic = toxics[f"{type_}_downstream"]
        assert (toxic.type, toxic.stream, toxic.toxicity, toxic.attributes) == (type_, "downstream", 1.0, told)
        assert (toxics[f"{type_}_up"].stream, toxics[f"{type_}_up"].toxicity) == ("upstream", 0.5)
    for name in toxics:
        assert proxy.destroy_toxic(name)
    assert proxy.get_toxic("latency_downstream") is None


def test_pypi_slows_down_for_real(client: Any, upstream: Any, connect: Connect) -> None:
    proxy = client.create(upstream=upstream.name, name="shop")
    one = connect(_address(proxy))
    proxy.add_toxic(type="latency", attributes={"latency": 200})
    began = time.monotonic()
    one.sendall(b"x")
    assert one.recv(1) == b"x"
    assert time.monotonic() - began >= 0.2
    client.reset()
    assert proxy.toxics() == {}


def test_pypi_raises_what_it_raises_with_toxiproxy(client: Any, upstream: Any) -> None:
    proxy = client.create(upstream=upstream.name, name="shop")
    with pytest.raises(ProxyExists):
        client.create(upstream=upstream.name, name="shop")
    with pytest.raises(InvalidToxic, match="invalid toxic type"):
        proxy.add_toxic(type="nothing")
    with pytest.raises(InvalidToxic, match="cannot lose packets"):
        proxy.add_toxic(type="packet_loss", attributes={"loss_rate": 0.1})
    with pytest.raises(NotFound):
        proxy.destroy_toxic("nothing")
    proxy.add_toxic(type="latency")
    with pytest.raises(ProxyExists, match="toxic already exists"):
        proxy.add_toxic(type="latency")


def test_pypi_populates(client: Any, upstream: Any) -> None:
    wanted = [
        {"name": "a", "upstream": upstream.name, "listen": "127.0.0.1:0"},
        {"name": "b", "upstream": upstream.name, "listen": "127.0.0.1:0"},
    ]
    assert [proxy.name for proxy in client.populate(wanted)] == ["a", "b"]
    client.destroy_all()
    assert client.proxies() == {}


def test_go_saves_the_whole_proxy_back(api: Any, upstream: Any) -> None:
    """`client.CreateProxy`, `AddToxic`, then `Disable`, which sends everything it has read, toxics included."""
    go = {"User_Agent": "toxiproxy-cli", "Content_Type": "application/json"}
    told = {"name": "shop", "listen": "", "upstream": upstream.name, "enabled": True, "toxics": None}
    assert api.ask("POST", "/proxies", told, **go).status == 201
    toxic = {"name": "", "type": "latency", "stream": "", "toxicity": 1, "attributes": {"latency": 5}}
    added = api.ask("POST", "/proxies/shop/toxics", toxic, **go)
    assert (added.status, added.json["name"], added.json["stream"]) == (200, "latency_downstream", "downstream")
    read = api.ask("GET", "/proxies/shop", **go).json
    saved = api.ask("POST", "/proxies/shop", read | {"enabled": False}, **go)
    assert saved.json == read | {"enabled": False}
    updated = api.ask("PATCH", "/proxies/shop/toxics/latency_downstream", {"attributes": {"latency": 9}}, **go)
    assert updated.json["attributes"] == {"latency": 9, "jitter": 0}
    assert api.ask("POST", "/reset", b"", **go).status == 204


def test_ruby_sends_null_for_what_it_does_not_know(api: Any, upstream: Any) -> None:
    ruby = {"User_Agent": "Ruby", "Accept": "*/*"}
    told = {"upstream": upstream.name, "name": "shop", "listen": "localhost:0", "enabled": None}
    made = api.ask("POST", "/proxies", told, **ruby)
    assert (made.status, made.json["enabled"]) == (201, True)
    toxic = {"name": "slow", "type": "latency", "stream": "upstream", "toxicity": None, "attributes": {"latency": 5}}
    assert api.ask("POST", "/proxies/shop/toxics", toxic, **ruby).json["toxicity"] == 1.0
    assert api.ask("DELETE", "/proxies/shop/toxics/slow", **ruby).status == 204


def test_java_sets_one_attribute_at_a_time(api: Any, upstream: Any) -> None:
    """`toxiproxy-java`, on which Testcontainers stands: long attributes, float toxicity, POST for every update."""
    java = {"User_Agent": "Java/21", "Content_Type": "application/x-www-form-urlencoded"}
    api.proxy(upstream.address)
    toxic = {"name": "slow", "stream": "downstream", "toxicity": 1.0, "type": "latency", "attributes": {"latency": 5}}
    api.ask("POST", "/proxies/shop/toxics", toxic, **java)
    changed = api.ask("POST", "/proxies/shop/toxics/slow", {"attributes": {"jitter": 2}}, **java)
    assert changed.json["attributes"] == {"latency": 5, "jitter": 2}
    changed = api.ask("POST", "/proxies/shop/toxics/slow", {"toxicity": 0.30000001192092896}, **java)
    assert changed.json["toxicity"] == pytest.approx(0.3)


def test_testcontainers_cut_holds_everything_and_loses_nothing(api: Any, upstream: Any, connect: Connect) -> None:
    """Its `setConnectionCut` is a bandwidth of 0 in both directions."""
    listen = api.proxy(upstream.address)
    one = connect(listen)
    for stream in ("downstream", "upstream"):
        api.toxic("bandwidth", name="shop", stream=stream, attributes={"rate": 0})
    one.sendall(b"held")
    one.settimeout(0.2)
    with pytest.raises(TimeoutError):
        one.recv(1)
    one.settimeout(20)
    for stream in ("downstream", "upstream"):
        assert api.ask("DELETE", f"/proxies/shop/toxics/bandwidth_{stream}").status == 204
    assert one.recv(4) == b"held"


def test_dotnet_writes_its_keys_large(api: Any, upstream: Any) -> None:
    told = {"Name": "shop", "Listen": "127.0.0.1:0", "Upstream": upstream.name, "Enabled": True}
    assert api.ask("POST", "/proxies", told).status == 201
    toxic = {
        "Attributes": {"average_size": 10, "size_variation": 3, "Delay": 5},
        "Name": "cut",
        "Stream": "DownStream",
        "Toxicity": 1.0,
        "Type": "slicer",
    }
    assert api.ask("POST", "/proxies/shop/toxics", toxic).status == 200
    again = api.ask("POST", "/proxies/shop/toxics/cut", toxic | {"Toxicity": 0.5})
    assert again.json["toxicity"] == 0.5
