"""What a comparison wants of a side: one look at a fixed moment, tallies of ranges of keys, and rows in key order.

A store that can count and hash by itself (PostgreSQL) does so; of the others the rows are streamed through here. Write
a class with these methods for a store of your own: `StreamedLook` has all but `rows` and `rows_of`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Protocol, cast

from premortem.durable.reconciling.columns import Columns, Key, Row
from premortem.errors import ConfigurationError

_EXACT = Context(prec=400)
_PART = 15  # hexadecimal digits, 60 bits: what fits PostgreSQL's bigint


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of a range, counted, summed and hashed: equal tallies are equal rows, in whatever order, doubled or not.

    `digest` holds two sums of 60 bits of each row's SHA-256; `sums` stand in the order of `Columns.sums`.
    """

    rows: int = 0
    digest: tuple[int, int] = (0, 0)
    sums: tuple[Decimal, ...] = ()

    def same_rows(self, other: Tally) -> bool:
        """Whether the rows are the same."""
        return (self.rows, self.digest) == (other.rows, other.digest)


class Look(Protocol):
    """A side at one moment. Ranges are from `low`, which is in, to `high`, which is not; None is the end."""

    def tallies(self, low: Key | None, cuts: Sequence[Key], high: Key | None) -> list[Tally]:
        """Of the ranges into which `cuts` divide it: one more than there are cuts."""
        ...

    def cuts(self, low: Key | None, high: Key | None, step: int) -> list[Key]:
        """Each `step`-th key after the first, in order: they divide the range into parts of about `step` rows."""
        ...

    def rows(self, low: Key | None, high: Key | None) -> Iterator[Row]:
        """In key order, not all at once."""
        ...

    def rows_of(self, keys: Sequence[Key]) -> Iterator[Row]:
        """The rows of these keys, in key order."""
        ...


class Side(Protocol):
    """What should be, or what is. `name` is for people."""

    name: str

    def look(self, columns: Columns, beside: Look | None = None) -> AbstractContextManager[Look]:
        """Open it at one moment; at the very moment of `beside`, where that is the same database.

        ConfigurationError, or StoreDownError where it does not answer.
        """
        ...


class StreamedLook:
    """Tallies and cuts for a side whose rows come through this process, one at a time."""

    def __init__(self, columns: Columns, name: str) -> None:
        self.columns, self.name = columns, name

    def rows(self, low: Key | None, high: Key | None) -> Iterator[Row]:
        """As `Look.rows`."""
        raise NotImplementedError

    def tallies(self, low: Key | None, cuts: Sequence[Key], high: Key | None) -> list[Tally]:
        """As `Look.tallies`."""
        columns, read = self.columns, list(self.columns.read)
        summed = [read.index(name) for name in columns.sums]
        counts, firsts, seconds = ([0] * (len(cuts) + 1) for _ in range(3))
        sums = [[Decimal(0)] * len(summed) for _ in counts]
        for row in in_order(self.rows(low, high), columns, self.name):
            part = bisect_right(cuts, columns.key_of(row))
            digest = hashlib.sha256(columns.form(row).encode("utf-8", "surrogatepass")).hexdigest()
            counts[part] += 1
            firsts[part] += int(digest[:_PART], 16)
            seconds[part] += int(digest[_PART : 2 * _PART], 16)
            for place, position in enumerate(summed):
                if (value := row[position]) is not None:
                    sums[part][place] = _EXACT.add(sums[part][place], Decimal(cast("int | Decimal", value)))
        return [
            Tally(count, (first, second), tuple(total))
            for count, first, second, total in zip(counts, firsts, seconds, sums, strict=True)
        ]

    def cuts(self, low: Key | None, high: Key | None, step: int) -> list[Key]:
        """As `Look.cuts`."""
        found: list[Key] = []
        for number, row in enumerate(self.rows(low, high)):
            key = self.columns.key_of(row)
            if number and number % step == 0 and key != low and (not found or found[-1] != key):
                found.append(key)
        return found


def in_order(rows: Iterator[Row], columns: Columns, name: str) -> Iterator[Row]:
    """The rows, if they come in the order of their keys. ConfigurationError where a store sorts otherwise."""
    last: Key | None = None
    for row in rows:
        key = columns.key_of(row)
        if last is not None and key < last:
            raise ConfigurationError(
                f"{name}: its keys do not come in the order of their kinds (a number that is kept as text, or a "
                "collation of its own); cast the key in the query"
            )
        last = key
        yield row
