"""Retry-After: seconds, HTTP dates, headers, and nothing that could take the place of the user's error."""

import math
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.policies.rejections import CircuitOpenError
from premortem.policies.retry_after import parse, seconds_of

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (3, 3.0), (0.5, 0.5), (-1, 0.0), ("120", 120.0), (" 7 ", 7.0), ("1.5", 1.5), (timedelta(minutes=1), 60.0),
        ("Mon, 23 Nov 2026 01:00:30 GMT", 30.0), ("Monday, 23-Nov-26 01:00:30 GMT", 30.0),
        ("Mon Nov 23 01:00:30 2026", 30.0), ("Mon, 23 Nov 2026 00:00:00 GMT", 0.0),
        ("", None), ("soon", None), ("-5", None), (True, None), (None, None), (math.nan, None), (math.inf, None),
        ("9" * 400, None), (10**400, None), ("Mon, 99 Nov 2026 01:00:30 GMT", None), (object(), None), (b"3", None),
    ],
)  # fmt: skip
def test_what_is_asked_for(asked: object, seconds: float | None) -> None:
    assert parse(asked, NOW) == seconds


@given(st.one_of(st.text(), st.integers(), st.floats(), st.datetimes().map(str)))
def test_nothing_that_a_server_sends_raises(asked: object) -> None:
    seconds = parse(asked)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


@given(st.integers(0, 10**6))
def test_a_date_comes_back_as_seconds(ahead_s: int) -> None:
    assert parse(format_datetime(NOW + timedelta(seconds=ahead_s), usegmt=True), NOW) == ahead_s


def _error(**attributes: Any) -> Exception:
    error = Exception()
    vars(error).update(attributes)
    return error


def test_where_it_is_found() -> None:
    message = Message()
    message["retry-after"] = "9"
    http = HTTPError("http://x", 503, "busy", message, None)
    assert seconds_of(http) == 9
    http.close()
    assert seconds_of(_error(retry_after_s=4)) == 4
    assert seconds_of(_error(retry_after="4")) == 4
    assert seconds_of(_error(headers={"Retry-After": "5"})) == 5
    assert seconds_of(_error(response=SimpleNamespace(headers={"retry-after": "6"}))) == 6
    assert seconds_of(_error(retry_after=print, headers={"Retry-After": "5"})) == 5
    assert seconds_of(CircuitOpenError("p", "open", 8)) == 8


def test_who_asks_for_nothing() -> None:
    class Awkward(Exception):  # noqa: N818 - a test's own
        @property
        def response(self) -> Any:
            raise RuntimeError("has not been set")

    class Headers:
        def get(self, name: str) -> str:
            raise KeyError(name)

    for error in (_error(), _error(response=None), _error(response={}), Awkward(), _error(headers=Headers())):
        assert seconds_of(error) is None
