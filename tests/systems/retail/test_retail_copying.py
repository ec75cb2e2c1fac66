"""What COPY is sent comes out of the table as it went in, whatever stands in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import polars as pl
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.systems.retail.copying import encode

Through = Callable[[list[str | None]], list[str | None]]


@pytest.fixture(scope="module")
def through(postgres_url: str) -> Iterator[Through]:
    """The texts, written by COPY and read back."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create temp table told (place integer, word text)")

        def told(words: list[str | None]) -> list[str | None]:
            frame = pl.DataFrame({"place": range(len(words)), "word": pl.Series(words, dtype=pl.String)})
            connection.execute("truncate told")
            with connection.cursor().copy("copy told (place, word) from stdin") as copy:
                copy.write(encode(frame))
            return [word for (word,) in connection.execute("select word from told order by place").fetchall()]

        yield told


# One at a time: what is special is looked for in the whole column before anything is escaped in it.
@pytest.mark.parametrize(
    "word", ["a\\b", "a\tb", "a\nb", "a\rb", "a\r\nb", "\\N", "\\.", "\\", "", '"', 'a "b" c', "'", None]
)
def test_a_word_alone(word: str | None, through: Through) -> None:
    assert through([word]) == [word]


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_words(through: Through, words: list[str | None]) -> None:
    assert through(words) == words


def test_moments_to_the_microsecond_where_one_has_them() -> None:
    whole, part = datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001 - as files have them
    assert bytes(encode(pl.DataFrame({"at": [whole]}))) == b"2026-01-02 03:04:05\n"
    told = bytes(encode(pl.DataFrame({"at": [whole, part]})))
    assert told == b"2026-01-02 03:04:05.000000\n2026-01-02 03:04:05.000006\n"
