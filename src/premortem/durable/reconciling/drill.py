"""From tallies that differ down to the rows: range by range, and only where the tallies of a range differ.

Equal ranges cost one row each. Where more than half of a range's parts differ, and are small enough to be read, it is
read in one go. Memory holds one level's tallies and one key's rows at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from premortem.durable.reconciling.columns import Columns, Key, Row
from premortem.durable.reconciling.report import Difference, differences_of
from premortem.durable.reconciling.sides import Look, Tally
from premortem.errors import ConfigurationError

_LEAF_ROWS = 1000
_PARTS = 32
_ONE_KEY = 1000


@dataclass(slots=True)
class Found:
    """What the way down has cost so far."""

    expected: Tally
    actual: Tally
    rows_read: int = 0


@dataclass(frozen=True, slots=True)
class _Range:
    low: Key | None
    high: Key | None
    rows: int


def tallied(expected: Look, actual: Look) -> Found:
    """Both sides as a whole."""
    return Found(expected.tallies(None, (), None)[0], actual.tallies(None, (), None)[0])


def drill(  # noqa: PLR0913 - two sizes by keyword, for tests
    expected: Look, actual: Look, columns: Columns, found: Found, *, leaf_rows: int = _LEAF_ROWS, parts: int = _PARTS
) -> Iterator[Difference]:
    """Each difference, range by range; `found.rows_read` is kept."""
    if found.expected.same_rows(found.actual):
        return
    bigger = expected if found.expected.rows >= found.actual.rows else actual
    left = [_Range(None, None, max(found.expected.rows, found.actual.rows))]
    while left:
        one = left.pop()
        differing = _split(one, expected, actual, bigger, parts) if one.rows > leaf_rows else None
        if differing is not None and one.rows <= leaf_rows * parts and 2 * len(differing) > parts:
            differing = None
        if differing is None:
            yield from merged(expected.rows(one.low, one.high), actual.rows(one.low, one.high), columns, found)
        else:
            left += reversed(differing)


def _split(one: _Range, expected: Look, actual: Look, bigger: Look, parts: int) -> list[_Range] | None:
    """The parts that differ; None where it cannot be cut."""
    cuts = bigger.cuts(one.low, one.high, -(-one.rows // parts))
    if not cuts:
        return None
    ends = [one.low, *cuts, one.high]
    tallies = zip(expected.tallies(one.low, cuts, one.high), actual.tallies(one.low, cuts, one.high), strict=True)
    return [
        _Range(low, high, max(should.rows, be.rows))
        for (low, high), (should, be) in zip(itertools.pairwise(ends), tallies, strict=True)
        if not should.same_rows(be)
    ]


def merged(expected: Iterator[Row], actual: Iterator[Row], columns: Columns, found: Found) -> Iterator[Difference]:
    """The differences of two streams in key order."""
    ones, others = _by_key(expected, columns, found), _by_key(actual, columns, found)
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield from differences_of(columns, one[0], one[1], [])
            one = next(ones, None)
        elif one is None or other[0] < one[0]:
            yield from differences_of(columns, other[0], [], other[1])
            other = next(others, None)
        else:
            if len(one[1]) != 1 or len(other[1]) != 1 or not columns.same(one[1][0], other[1][0]):
                yield from differences_of(columns, one[0], one[1], other[1])
            one, other = next(ones, None), next(others, None)


def _by_key(rows: Iterator[Row], columns: Columns, found: Found) -> Iterator[tuple[Key, list[Row]]]:
    for key, group in itertools.groupby(rows, columns.key_of):
        several = list(itertools.islice(group, _ONE_KEY + 1))
        if len(several) > _ONE_KEY:
            raise ConfigurationError(
                f"more than {_ONE_KEY} rows have the key {key!r}: it tells no row from another; add columns to the key"
            )
        found.rows_read += len(several)
        yield key, several
