from __future__ import annotations

import pytest

from premortem.errors import ConfigurationError
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target, url_problem

URL = "postgresql://shop:s3cr3t-w0rd@db.example:5433/retail"


@pytest.fixture(autouse=True)
def _no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREMORTEM_POSTGRES_URL", raising=False)


def problem(**overrides: float) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(URL, **overrides)
    return str(caught.value)


def test_defaults_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(URL).retail_chunk_rows == 50_000
    monkeypatch.setenv("PREMORTEM_POSTGRES_URL", URL)
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "7")
    settings = read_settings()
    assert settings.retail_chunk_rows == 7
    assert settings.postgres_url.reveal() == URL
    assert read_settings(chunk_rows=8).retail_chunk_rows == 8


def test_a_missing_url_is_said() -> None:
    with pytest.raises(ConfigurationError, match="PREMORTEM_POSTGRES_URL is not set"):
        read_settings()


NONSENSE = [
    ("CHUNK_ROWS", "0"),
    ("CHUNK_ROWS", "1.5"),
    ("CHUNK_ROWS", ""),
    ("CONNECT_TIMEOUT_S", "yes"),
    ("CONNECT_TIMEOUT_S", "999999"),
    ("STATEMENT_TIMEOUT_S", "0"),
    ("STATEMENT_TIMEOUT_S", "-1"),
    ("STATEMENT_TIMEOUT_S", "nan"),
    ("STATEMENT_TIMEOUT_S", "inf"),
    ("STATEMENT_TIMEOUT_S", "999999"),
    ("MAX_DEAD_SHARE", "1.1"),
    ("MAX_DEAD_SHARE", "nan"),
    ("PRICE_MAX", "0"),
    ("QUANTITY_MAX", "3000000000"),
]


@pytest.mark.parametrize(("name", "value"), NONSENSE)
def test_nonsense_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PREMORTEM_RETAIL_{name}", value)
    said = problem()
    assert f"PREMORTEM_RETAIL_{name}={value!r}: must be a" in said
    assert "leave it out for the default" in said


def test_all_problems_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "many")
    monkeypatch.setenv("PREMORTEM_RETAIL_MAX_DEAD_SHARE", "2")
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROW", "10")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    said = str(caught.value)
    assert said.startswith("4 settings are not usable")
    assert "PREMORTEM_RETAIL_CHUNK_ROW is no setting of this program; did you mean PREMORTEM_RETAIL_CHUNK_ROWS?" in said
    assert "POSTGRES_URL is not set" in said


def test_misspelt_argument_is_refused() -> None:
    assert "RETAIL_CHUNKROWS is no setting" in problem(chunkrows=5)


BAD_URLS = [
    "",
    "mysql://shop:s3cr3t-w0rd@db/retail",
    "host=db password=s3cr3t-w0rd",
    "postgresql://shop:s3cr3t-w0rd@x@db/retail",
    "postgresql://shop:s3cr3t-w0rd/x@db/retail",
    "postgresql://shop:12/s3cr3t-w0rd@db/retail",
    "postgresql://shop:s3cr3t-w0rd#x@db/retail",
    "postgresql://shop:s3cr3t-w0rd%zz@db/retail",
    "postgresql://shop:s3cr3t-w0rd@db:port/retail",
    "postgresql://shop:s3cr3t-w0rd@/retail",
    "postgresql://shop@db/retail?s3cr3t-w0rd=1",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_url_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings(url)
    with pytest.raises(ConfigurationError) as also:
        parse_target(url)
    for error in (caught.value, also.value):
        assert "s3cr3t" not in f"{error}{error!r}"
        assert error.__cause__ is None
        assert error.__context__ is None
        assert "must be like postgresql://" in str(error)


def test_secrets_are_masked() -> None:
    settings = read_settings(URL)
    target = parse_target(URL)
    assert isinstance(settings, RetailSettings)
    assert "s3cr3t" not in f"{settings!r}{settings}{target!r}{target}"
    assert str(target) == "db.example:5433, database 'retail', user 'shop'"
    assert target.scrub(f"no\n  {URL} with s3cr3t-w0rd") == "no *** with ***"


def test_sockets_and_several_hosts_are_fine() -> None:
    assert url_problem("postgresql://shop@%2Ftmp%2Fpg/retail") is None
    assert url_problem("postgresql:///retail?host=/tmp/pg&user=shop") is None
