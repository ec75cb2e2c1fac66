"""What is wrong with a URL is not taken for a server that is down: nobody waits for it, or goes on without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from premortem.durable import (
    Checkpoint,
    IterableSide,
    PostgresKeys,
    PostgresLetters,
    PostgresStore,
    ValkeyKeys,
    ValkeyLetters,
    ValkeyStore,
    orphans,
)
from premortem.errors import ConfigurationError

POSTGRES = (PostgresStore, PostgresKeys, PostgresLetters)
VALKEY = (ValkeyStore, ValkeyKeys, ValkeyLetters)


def changed(url: str, **parts: str) -> str:
    """The URL with other parts."""
    return urlunsplit(urlsplit(url)._replace(**parts))


@pytest.mark.parametrize("store", POSTGRES)
@pytest.mark.parametrize("url", ["hello", "postgres://secret@[c/d", "postgresql://a b:secret@c/d?x=y"])
def test_a_url_that_is_none_is_refused_at_once_and_not_shown(store: Callable[[str], Any], url: str) -> None:
    with pytest.raises(ConfigurationError, match="has to look like postgresql://user") as caught:
        store(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_database_or_a_user_that_is_not_there_is_no_server_that_is_down(postgres: Any) -> None:
    parts = urlsplit(postgres.url)
    for url, said in (
        (changed(postgres.url, path="/nowhere"), 'database "nowhere" does not exist'),
        (changed(postgres.url, netloc=f"nobody:secret@{parts.hostname}:{parts.port}"), "nobody"),
    ):
        checkpoint = Checkpoint(PostgresStore(url), "a", on_store_down="go on")
        with pytest.raises(ConfigurationError, match="check user, password and database in the URL") as caught:
            checkpoint.save({"n": 1})
        assert said in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", ["password", "database"])
@pytest.mark.parametrize(
    "used",
    [
        lambda url: ValkeyStore(url).read("a"),
        lambda url: ValkeyKeys(url).pending(1),
        lambda url: ValkeyLetters(url).newest("a"),
    ],
    ids=["checkpoints", "keys", "letters"],
)
def test_a_valkey_that_refuses_is_not_down(used: Callable[[str], Any], valkey: str, wrong: str) -> None:
    parts = urlsplit(valkey)
    secret = f":secret@{parts.hostname}:{parts.port}"
    url = changed(valkey, netloc=secret) if wrong == "password" else changed(valkey, path="/999")
    with pytest.raises(ConfigurationError, match="the server is there and refuses") as caught:
        used(url)
    assert "secret" not in str(caught.value)


def test_a_side_that_is_a_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="write PostgresSide"):
        orphans("orders", "SELECT 1", IterableSide([]), {"id": "number"})  # type: ignore[arg-type]
