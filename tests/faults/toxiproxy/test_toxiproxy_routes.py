"""Every route, asked over HTTP: shapes, status codes and error texts are Toxiproxy's."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from premortem.faults.proxy.toxiproxy.refusals import Refused

Connect = Callable[[tuple[str, int]], socket.socket]
LATENCY = {
    "attributes": {"latency": 5, "jitter": 0},
    "name": "latency_downstream",
    "type": "latency",
    "stream": "downstream",
    "toxicity": 1.0,
}


def test_a_proxy_lives_from_its_creation_to_its_deletion(api: Any, upstream: Any, connect: Connect) -> None:
    assert api.ask("GET", "/proxies").json == {}
    listen = api.proxy(upstream.address)
    shown = {
        "name": "shop",
        "listen": f"127.0.0.1:{listen[1]}",
        "upstream": f"127.0.0.1:{upstream.address[1]}",
        "enabled": True,
        "toxics": [],
    }
    assert api.ask("GET", "/proxies").json == {"shop": shown}
    assert api.ask("GET", "/proxies/shop").json == shown
    one = connect(listen)
    one.sendall(b"x")
    assert one.recv(1) == b"x"

    deleted = api.ask("DELETE", "/proxies/shop")
    assert (deleted.status, deleted.body) == (204, b"")
    assert api.ask("GET", "/proxies/shop").status == 404
    with pytest.raises(ConnectionRefusedError):
        connect(listen)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_toxic_lives_from_its_creation_to_its_deletion(api: Any, upstream: Any, method: str) -> None:
    api.proxy(upstream.address)
    assert api.toxic("latency", attributes={"latency": 5}).json == LATENCY
    assert api.ask("GET", "/proxies/shop/toxics").json == [LATENCY]
    assert api.ask("GET", "/proxies/shop/toxics/latency_downstream").json == LATENCY
    changed = api.ask(method, "/proxies/shop/toxics/latency_downstream", {"attributes": {"latency": 7}})
    assert changed.status == 200
    assert changed.json == LATENCY | {"attributes": {"latency": 7, "jitter": 0}}
    assert api.ask("GET", "/proxies/shop").json["toxics"] == [changed.json]
    assert api.ask("DELETE", "/proxies/shop/toxics/latency_downstream").status == 204
    assert api.ask("GET", "/proxies/shop/toxics").json == []


def test_populate_leaves_alone_what_is_as_it_is_wanted(api: Any, upstream: Any, connect: Connect) -> None:
    wanted = [
        {"name": "a", "upstream": upstream.name},
        {"name": "b", "upstream": upstream.name, "enabled": False, "listen": "localhost:0"},
    ]
    told = api.ask("POST", "/populate", wanted)
    assert told.status == 201
    first, second = told.json["proxies"]
    assert (first["enabled"], second["enabled"], second["listen"]) == (True, False, "127.0.0.1:0")
    one = connect(("127.0.0.1", int(first["listen"].rpartition(":")[2])))
    api.toxic("latency", "a")
    again = api.ask("POST", "/populate", [wanted[0] | {"listen": first["listen"]}])
    assert again.json["proxies"][0]["listen"] == first["listen"]
    assert len(again.json["proxies"][0]["toxics"]) == 1
    one.sendall(b"still here")
    assert one.recv(10) == b"still here"
    replaced = api.ask("POST", "/populate", [{"name": "a", "upstream": "127.0.0.1:1"}])
    assert replaced.json["proxies"][0]["toxics"] == []
    assert one.recv(1) == b""


def test_populate_declares_toxics(api: Any, upstream: Any) -> None:
    entry = {"name": "a", "upstream": upstream.name}
    toxics = [{"type": "latency", "attributes": {"latency": 5}}, {"type": "slow_close", "attributes": {"delay": 1}}]
    told = api.ask("POST", "/populate", [entry | {"toxics": toxics}])
    assert [one["type"] for one in told.json["proxies"][0]["toxics"]] == ["latency", "slow_close"]
    told = api.ask("POST", "/populate", [entry | {"toxics": toxics[:1]}])
    assert [one["type"] for one in told.json["proxies"][0]["toxics"]] == ["latency"]


def test_disabled_is_refused_and_keeps_its_toxics(api: Any, upstream: Any, connect: Connect) -> None:
    listen = api.proxy(upstream.address)
    api.toxic("latency", attributes={"latency": 1})
    one = connect(listen)
    told = api.ask("POST", "/proxies/shop", {"enabled": False})
    assert (told.status, told.json["enabled"], len(told.json["toxics"])) == (200, False, 1)
    with pytest.raises(ConnectionRefusedError):
        connect(listen)
    with contextlib.suppress(ConnectionResetError):  # an end or a reset
        assert one.recv(1) == b""
    told = api.ask("PATCH", "/proxies/shop", {"enabled": True})
    assert (told.json["enabled"], len(told.json["toxics"])) == (True, 1)
    again = connect(listen)
    again.sendall(b"x")
    assert again.recv(1) == b"x"


def test_created_disabled_it_does_not_listen_until_it_is_enabled(api: Any, upstream: Any, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert api.proxy(upstream.address, listen=f"127.0.0.1:{port}", enabled=False) == ("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
    api.toxic("slow_close", attributes={"delay": 1})
    assert api.ask("POST", "/proxies/shop", {"enabled": True}).json["enabled"]
    one = connect(("127.0.0.1", port))
    one.sendall(b"x")
    assert one.recv(1) == b"x"


def test_a_new_upstream_keeps_the_port_and_the_toxics(api: Any, upstream: Any, connect: Connect) -> None:
    listen = api.proxy(("127.0.0.1", 1))
    api.toxic("latency", attributes={"latency": 1})
    told = api.ask("POST", "/proxies/shop", {"upstream": upstream.name})
    assert told.json["listen"] == f"127.0.0.1:{listen[1]}"
    assert len(told.json["toxics"]) == 1
    one = connect(listen)
    one.sendall(b"x")
    assert one.recv(1) == b"x"


def test_reset_enables_all_and_takes_every_toxic_out(api: Any, upstream: Any) -> None:
    api.proxy(upstream.address, "a", enabled=False)
    api.proxy(upstream.address, "b", toxics=[{"type": "latency", "attributes": {"latency": 5}}])
    assert api.ask("POST", "/reset").status == 204
    shown = api.ask("GET", "/proxies").json
    assert all(one["enabled"] and one["toxics"] == [] for one in shown.values())


@pytest.mark.parametrize(
    "case",
    [
        ("POST", "/proxies", {}, 400, "missing required field: name"),
        ("POST", "/proxies", {"name": "x"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", {"name": "shop", "upstream": "127.0.0.1:1"}, 409, "proxy already exists"),
        ("GET", "/proxies/no", None, 404, "proxy not found"),
        ("POST", "/proxies/no", {}, 404, "proxy not found"),
        ("DELETE", "/proxies/no", None, 404, "proxy not found"),
        ("GET", "/proxies/no/toxics", None, 404, "proxy not found"),
        ("POST", "/proxies/no/toxics", {"type": "latency"}, 404, "proxy not found"),
        ("GET", "/proxies/shop/toxics/no", None, 404, "toxic not found"),
        ("PATCH", "/proxies/shop/toxics/no", {}, 404, "toxic not found"),
        ("DELETE", "/proxies/shop/toxics/no", None, 404, "toxic not found"),
        ("POST", "/proxies/shop/toxics", {"type": "no"}, 400, "invalid toxic type"),
        (
            "POST",
            "/proxies/shop/toxics",
            {"type": "latency", "stream": "no"},
            400,
            "stream was invalid, can be either upstream or downstream",
        ),
        ("POST", "/proxies/shop/toxics", {"type": "slow_close", "name": "there"}, 409, "toxic already exists"),
    ],
)
def test_errors_are_toxiproxys_word_for_word(api: Any, upstream: Any, case: tuple[str, str, object, int, str]) -> None:
    method, path, told, status, error = case
    api.proxy(upstream.address, toxics=[{"type": "slow_close", "name": "there"}])
    answer = api.ask(method, path, told)
    assert (answer.status, answer.json["error"], answer.json["status"]) == (status, error, status)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "case",
    [
        ("POST", "/proxies", b"{", "it is no JSON"),
        ("POST", "/proxies", b"", "it is no JSON"),
        ("POST", "/proxies", {"name": "x", "upstream": "10.1.2.3:5432"}, "is not on loopback"),
        ("POST", "/proxies/shop", {"upstream": "10.1.2.3:5432"}, "is not on loopback"),
        ("POST", "/populate", [{"name": "x", "upstream": "10.1.2.3:5432"}], "is not on loopback"),
        ("POST", "/populate", {}, "JSON array"),
        ("POST", "/proxies/shop", {"name": "other"}, "delete the proxy and make another"),
        ("POST", "/proxies/shop/toxics", {"type": "packet_loss"}, "cannot lose packets"),
        ("POST", "/proxies/shop/toxics", {"type": "slicer", "attributes": {"average_size": 0}}, "size_bytes"),
        ("POST", "/proxies/shop/toxics", {"type": "at", "attributes": {"recipe": "COMMIT"}}, "WORLD:WHAT#NTH"),
        ("POST", "/proxies/off/toxics", {"type": "at", "attributes": {"recipe": "http:GET /#1=stat"}}, "status N"),
        ("POST", "/proxies/off/toxics", {"type": "at", "attributes": {"recipe": "syscall:fsync#1"}}, "syscall"),
        ("POST", "/proxies/off/toxics", {"type": "slicer", "attributes": {"average_size": 0}}, "size_bytes"),
    ],
)
def test_what_cannot_be_done_is_a_bad_request_and_nothing_is_changed(
    api: Any, upstream: Any, case: tuple[str, str, object, str]
) -> None:
    method, path, told, said = case
    api.proxy(upstream.address)
    api.proxy(upstream.address, "off", enabled=False)
    before = api.ask("GET", "/proxies").json
    answer = api.ask(method, path, told)
    assert answer.status == 400
    assert said in answer.json["error"]
    assert api.ask("GET", "/proxies").json == before


def test_a_port_that_is_taken_is_an_error_and_leaves_no_proxy(api: Any, upstream: Any) -> None:
    taken = upstream.name
    answer = api.ask("POST", "/proxies", {"name": "x", "listen": taken, "upstream": taken})
    assert answer.status == 500
    assert str(upstream.address[1]) in answer.json["error"]
    assert api.ask("GET", "/proxies").json == {}


def test_version_and_unknown_paths(api: Any) -> None:
    told = api.ask("GET", "/version").json
    assert told["version"].split(".")[0] == "2"
    assert told["server"].startswith("premortem ")
    assert api.ask("GET", "/nothing").status == 404
    assert api.ask("GET", "/proxies/a/b/c/d").status == 404
    assert api.ask("PUT", "/proxies").status == 405
    assert api.ask("GET", "/reset").status == 405


def test_a_name_may_hold_anything(api: Any, upstream: Any) -> None:
    api.proxy(upstream.address, "a/b c%")
    assert api.ask("GET", "/proxies/a%2Fb%20c%25").json["name"] == "a/b c%"


def test_metrics_count_bytes_and_strikes(api: Any, upstream: Any, connect: Connect, eventually: Any) -> None:
    listen = api.proxy(upstream.address)
    api.toxic("latency", attributes={"latency": 1})
    api.toxic("limit_data", stream="upstream", attributes={"bytes": 1 << 30})
    one = connect(listen)
    one.sendall(b"12345")
    assert one.recv(5) == b"12345"
    eventually(lambda: 'fault="latency (latency 1, jitter 0)"} 1' in api.ask("GET", "/metrics").body.decode())
    text = api.ask("GET", "/metrics").body.decode()
    labels = f'proxy="shop",listener="127.0.0.1:{listen[1]}",upstream="{upstream.name}"'
    for direction in ("upstream", "downstream"):
        assert f'toxiproxy_proxy_sent_bytes_total{{direction="{direction}",{labels}}} 5' in text
    assert 'fault="limit_data (bytes 1073741824)"} 0' in text


def test_what_a_deleted_proxy_has_hit_is_not_forgotten(api: Any, upstream: Any, connect: Connect) -> None:
    for _ in range(2):
        listen = api.proxy(upstream.address, toxics=[{"type": "reset_peer"}])
        with pytest.raises(ConnectionResetError):
            connect(listen).recv(1)
        assert api.ask("DELETE", "/proxies/shop").status == 204
    assert api.proxies.counts() == {("shop", "reset_peer (timeout 0)"): 2}
    assert [hit.strike.what for hit in api.proxies.hits()] == ["reset", "reset"]
    assert api.proxies.hits() == []


def test_a_request_under_way_does_not_open_a_deleted_proxy_again(api: Any, upstream: Any) -> None:
    api.proxy(upstream.address, enabled=False)
    under_way = api.proxies.get("shop")
    api.proxies.delete("shop")
    with pytest.raises(Refused, match="proxy not found"):
        under_way.enable()
    assert not under_way.enabled
