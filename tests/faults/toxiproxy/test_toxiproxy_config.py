"""The configuration file: Toxiproxy's, with toxics, and a slip in it is an error."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.faults.proxy.toxiproxy.config import Address, read_address, read_config, read_entries, read_listen
from premortem.faults.proxy.toxiproxy.fields import Json
from premortem.faults.proxy.toxiproxy.refusals import Refused

SHOP: dict[str, Json] = {"name": "shop", "listen": "127.0.0.1:15432", "upstream": "127.0.0.1:5432"}


def test_a_file_of_toxiproxy_is_read(tmp_path: Path) -> None:
    file = tmp_path / "toxiproxy.json"
    web: Json = {"name": "web", "listen": "[::]:18080", "upstream": "localhost:8080", "enabled": False}
    file.write_text(json.dumps([SHOP | {"enabled": True}, web]))
    shop, read = read_config(file)
    assert (shop.name, str(shop.listen), str(shop.upstream)) == ("shop", "127.0.0.1:15432", "127.0.0.1:5432")
    assert shop.enabled
    assert shop.toxics is None
    assert (str(read.listen), str(read.upstream), read.enabled) == ("127.0.0.1:18080", "localhost:8080", False)


def test_toxics_in_the_file_are_read() -> None:
    toxics: Json = [
        {"type": "latency", "attributes": {"latency": 20}},
        {"type": "at", "attributes": {"recipe": "postgres:COMMIT#1:after"}},
    ]
    (entry,) = read_entries([SHOP | {"toxics": toxics}])
    assert entry.toxics
    assert [str(toxic) for toxic in entry.toxics] == ["latency (latency 20, jitter 0)", "postgres:COMMIT#1:after"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"proxies": []}, "JSON array of proxies"),
        ([{"listen": "127.0.0.1:1"}], "missing required field: name at proxy 1"),
        ([SHOP, {"name": "web"}], "missing required field: upstream at proxy 2"),
        ([SHOP, SHOP], "two proxies are called 'shop', the second at proxy 2"),
        ([SHOP | {"toxic": []}], "'toxic' is no key of a proxy, which has name, upstream, listen, enabled, toxics"),
        ([SHOP | {"toxics": {}}], "'toxics' of a proxy has to be a JSON array at proxy 1"),
        ([SHOP | {"toxics": [{"type": "latency"}, {"type": "latency"}]}], "toxic already exists"),
        ([SHOP | {"toxics": [{"type": "latency", "attributes": {"latncy": 1}}]}], "did you mean 'latency'? at proxy 1"),
        ([SHOP | {"enabled": "no"}], "has to be true or false"),
        ([SHOP | {"upstream": "5432"}], "has to be HOST:PORT"),
        ([SHOP | {"upstream": ":5432"}], "has to name its host, as in 127.0.0.1:5432"),
        ([SHOP | {"upstream": "db:65536"}], "has to be HOST:PORT"),
        ([SHOP | {"listen": "192.168.1.5:5432"}], "a proxy listens on 127.0.0.1 alone; write 127.0.0.1:5432"),
        ([SHOP | {"listen": "[::1]:5432"}], "a proxy listens on 127.0.0.1 alone"),
    ],
)
def test_a_slip_is_an_error_that_says_where(told: Json, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        read_entries(told)


def test_a_file_is_named_in_its_error(tmp_path: Path) -> None:
    file = tmp_path / "toxiproxy.json"
    with pytest.raises(ConfigurationError, match=r"toxiproxy\.json: cannot be read"):
        read_config(file)
    for content, said in (("[{]", "it is no JSON"), ("\xff", "it is no JSON"), (" " * (1 << 20) + "[]", "1 MiB")):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(ConfigurationError, match=r"toxiproxy\.json: ") as error:
            read_config(file)
        assert said in str(error.value)


@given(st.sampled_from(["127.0.0.1", "localhost", "db.internal", "::1", "fe80::1"]), st.integers(0, 65535))
def test_an_address_is_shown_as_it_is_read(host: str, port: int) -> None:
    assert read_address(str(Address(host, port)), "upstream") == Address(host, port)


@given(st.text())
def test_any_text_is_an_address_or_refused(told: str) -> None:
    with contextlib.suppress(Refused):
        assert 0 <= read_address(told, "upstream").port <= 65535


@pytest.mark.parametrize("told", ["", "localhost:0", "127.0.0.1:0", "0.0.0.0:0", "[::]:0", ":0"])
def test_it_listens_on_loopback_alone(told: str) -> None:
    assert read_listen(told) == Address("127.0.0.1", 0)
