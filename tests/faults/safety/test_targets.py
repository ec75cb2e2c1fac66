"""What may be struck: loopback, and what an allow-list names; everything else is refused, and says why."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError, FaultError
from premortem.faults.allow_list import looks_like_production
from premortem.faults.targets import AllowList, Resolve, check_target
from premortem.ports import ManualClock

TODAY = ManualClock(datetime(2026, 6, 1, 12, tzinfo=UTC))
ENTRY = """
[[target]]
host = "{host}"
port = 5432
until = "2026-12-01"
reason = "staging"
"""


def answers(*addresses: str) -> Resolve:
    return lambda _: addresses


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "allowed.toml"


def allowed(file: Path, text: str) -> AllowList:
    file.write_text(text)
    return AllowList.read(file)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "127.1", "::ffff:127.0.0.1"])
def test_loopback_is_always_allowed(host: str) -> None:
    assert check_target(host, 5432) in ("127.0.0.1", "127.8.8.8", "::1")


def test_a_name_with_both_loopbacks_is_the_older_one() -> None:
    assert check_target("localhost", 80, resolve=answers("::1", "127.0.0.1")) == "127.0.0.1"


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.1", "8.8.8.8", "fd00::5", "169.254.1.1"])
def test_anything_else_is_refused_with_the_way_out(address: str) -> None:
    with pytest.raises(FaultError, match=r"not on loopback.*allow-list"):
        check_target(address, 5432)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1"])
def test_an_address_of_no_single_host_is_refused(host: str) -> None:
    with pytest.raises(FaultError, match="no single host"):
        check_target(host, 5432)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(FaultError, match="is no port"):
        check_target("127.0.0.1", port)


def test_a_name_half_on_loopback_is_refused_even_when_allowed(file: Path) -> None:
    allow = allowed(file, ENTRY.format(host="db"))
    with pytest.raises(FaultError, match="elsewhere at once"):
        check_target("db", 5432, allow, resolve=answers("127.0.0.1", "10.0.0.5"), clock=TODAY)


def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(FaultError, match="no address"):
        check_target("no-such-host.invalid", 80, resolve=answers())


def test_an_allowed_target_is_given_as_its_address(file: Path) -> None:
    allow = allowed(file, ENTRY.format(host="Staging-DB."))
    assert check_target("staging-db", 5432, allow, resolve=answers("10.0.0.5"), clock=TODAY) == "10.0.0.5"


def test_the_permission_is_for_one_port(file: Path) -> None:
    allow = allowed(file, ENTRY.format(host="staging-db"))
    with pytest.raises(FaultError, match=r"staging-db:5433: is not on loopback and not in(?s:.*)port = 5433"):
        check_target("staging-db", 5433, allow, resolve=answers("10.0.0.5"), clock=TODAY)


def test_a_name_with_several_addresses_is_pinned(file: Path) -> None:
    allow = allowed(file, ENTRY.format(host="db"))
    for shuffled in (("10.0.0.7", "10.0.0.6"), ("10.0.0.6", "10.0.0.7")):
        assert check_target("db", 5432, allow, resolve=answers(*shuffled), clock=TODAY) == "10.0.0.6"
    assert check_target("db", 5432, allow, resolve=answers("10.0.0.5", "10.0.0.6"), clock=TODAY) == "10.0.0.6"
    with pytest.raises(FaultError, match="another machine"):
        check_target("db", 5432, allow, resolve=answers("10.0.0.5"), clock=TODAY)


def test_a_permitted_address_is_chosen_out_of_several(file: Path) -> None:
    allow = allowed(file, ENTRY.format(host="10.0.0.7"))
    assert check_target("db", 5432, allow, resolve=answers("10.0.0.6", "10.0.0.7"), clock=TODAY) == "10.0.0.7"


def test_a_permission_ends_with_its_last_day(file: Path) -> None:
    allow = allowed(file, ENTRY.format(host="10.0.0.5"))
    last = ManualClock(datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC))
    assert check_target("10.0.0.5", 5432, allow, clock=last) == "10.0.0.5"
    last.advance(1)
    with pytest.raises(FaultError, match="ended on 2026-12-01"):
        check_target("10.0.0.5", 5432, allow, clock=last)


@pytest.mark.parametrize("entry", ["prod-db", "10.0.0.5"])
def test_production_takes_a_sentence_more(file: Path, entry: str) -> None:
    with pytest.raises(FaultError, match="prod-db:5432: looks like production"):
        check_target("prod-db", 5432, allowed(file, ENTRY.format(host=entry)), resolve=answers("10.0.0.5"), clock=TODAY)
    meant = allowed(file, ENTRY.format(host=entry) + "i_know_this_is_production = true\n")
    assert check_target("prod-db", 5432, meant, resolve=answers("10.0.0.5"), clock=TODAY) == "10.0.0.5"


@pytest.mark.parametrize(
    "host", ["prod", "db-prod1", "dbprod.example.com", "production.internal", "LIVE-db", "db.live", "primary-2", "prd7"]
)
def test_it_looks_like_production(host: str) -> None:
    assert looks_like_production(host)


@pytest.mark.parametrize("host", ["staging-db", "delivery.test", "reprocessing", "10.0.0.5", "replica-2"])
def test_it_does_not_look_like_production(host: str) -> None:
    assert not looks_like_production(host)


@pytest.mark.parametrize(
    "host", ["*", "*.test", "10.0.0.0/8", "10.0.0.5:5432", "http://db", "", "a b", "10.5", "0.0.0.0"]
)
def test_wildcards_networks_and_urls_are_refused(file: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="target 1: host="):
        allowed(file, ENTRY.format(host=host))


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("port = 5432", "port = true", "port=True has the wrong type"),
        ("port = 5432", "port = 70000", "from 1 to 65535"),
        ("port = 5432", 'port = "5432"', "wrong type"),
        ("port = 5432", "", "has no 'port'"),
        ("port = 5432", "port = 5432\nhosts = 1", "'hosts' is not known"),
        ('"2026-12-01"', '"never"', "is no day"),
        ('"staging"', '"  "', "reason is empty"),
        ("[[target]]", "[target]", "nothing else"),
        ("[[target]]", "[[targets]]", "nothing else"),
        ("[[target]]", "x = [", "is no TOML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(file: Path, before: str, after: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        allowed(file, ENTRY.format(host="db").replace(before, after))


def test_a_day_may_be_written_as_toml_has_it(file: Path) -> None:
    (target,) = allowed(file, ENTRY.format(host="db").replace('"2026-12-01"', "2026-12-01")).targets
    assert target.until == date(2026, 12, 1)


def test_a_file_that_is_not_there_says_so(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        AllowList.read(file)


@given(address=st.ip_addresses())
def test_no_address_off_loopback_passes_without_a_permission(address: object) -> None:
    try:
        given_back = check_target(str(address), 1, resolve=answers(str(address)))
    except FaultError:
        return
    assert given_back == "::1" or given_back.startswith("127.")
