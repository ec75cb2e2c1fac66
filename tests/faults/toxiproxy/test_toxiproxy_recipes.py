"""Faults at a message of a protocol, asked for over the API as any language can: an ambiguous commit, and a 503."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from premortem.servers import Servers


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with Servers() as servers:
        yield servers.postgres().admin_url


def test_a_commit_that_is_durable_and_unanswered(api: Any, postgres: str) -> None:
    parts = urlsplit(postgres)
    toxics = [{"type": "at", "name": "lost", "attributes": {"recipe": "postgres:COMMIT#1:after"}}]
    listen = api.proxy((parts.hostname, parts.port), toxics=toxics)
    proxied = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{listen[1]}").geturl()
    with psycopg.connect(postgres, autocommit=True) as direct:
        direct.execute("CREATE TABLE payments (id int)")
        with pytest.raises(psycopg.OperationalError), psycopg.connect(proxied) as connection:
            connection.execute("INSERT INTO payments VALUES (1)")
        assert direct.execute("SELECT id FROM payments").fetchall() == [(1,)]
    assert [hit.strike.recipe for hit in api.proxies.hits()] == ["postgres:COMMIT#1:after"]
    shown = api.ask("GET", "/proxies/shop/toxics/lost").json
    assert shown["attributes"] == {"recipe": "postgres:COMMIT#1:after"}


@pytest.fixture
def web() -> Iterator[tuple[str, int]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


def test_another_recipe_is_another_fault(api: Any, web: tuple[str, int]) -> None:
    listen = api.proxy(web)
    url = f"http://127.0.0.1:{listen[1]}/"

    def status() -> int:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    api.toxic("at", name="shop", attributes={"recipe": "http:GET /#1=status 503"})
    assert [status(), status()] == [503, 200]
    told = {"attributes": {"recipe": "http:GET /#2=status 429"}}
    assert api.ask("PATCH", "/proxies/shop/toxics/at_downstream", told).status == 200
    assert [status(), status(), status()] == [200, 429, 200]
    assert api.ask("DELETE", "/proxies/shop/toxics/at_downstream").status == 204
    assert set(api.proxies.counts().values()) == {1}
