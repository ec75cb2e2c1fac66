"""What a comparison has found: totals of both sides, and which rows are missing, surplus or differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from premortem.durable.reconciling.columns import Columns, Key, Row, Value
from premortem.durable.reconciling.sides import Tally

What = Literal["missing", "surplus", "differing"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row: `missing` where it should be, `surplus` where it should not, or `differing`; as it is on both sides."""

    what: What
    key: Key
    expected: Row | None
    actual: Row | None

    def columns(self, columns: Columns) -> tuple[str, ...]:
        """Which columns differ; none where one side has no row."""
        if self.expected is None or self.actual is None:
            return ()
        pairs = zip(columns.compared, self.expected, self.actual, strict=False)
        return tuple(name for name, one, other in pairs if one != other)


@dataclass(frozen=True, slots=True)
class Report:
    """A comparison. Its lists hold no more than the comparison was told to list; `unlisted` counts the others.

    `in_flight` were differences that were none any more at the second look, or rows changed too lately to judge.
    `rows_read` is how many rows had to be fetched from both sides.
    """

    name: str
    columns: Columns
    expected: Tally
    actual: Tally
    missing: tuple[Difference, ...]
    surplus: tuple[Difference, ...]
    differing: tuple[Difference, ...]
    unlisted: int
    in_flight: int
    rows_read: int
    started_at: datetime
    elapsed_s: float

    @property
    def agrees(self) -> bool:
        """Whether both sides are the same, apart from what is in flight."""
        return not self.differences

    @property
    def differences(self) -> int:
        """How many rows are missing, surplus or differ, listed or not."""
        return len(self.missing) + len(self.surplus) + len(self.differing) + self.unlisted

    @property
    def sums(self) -> dict[str, tuple[Value, Value]]:
        """Totals by column: what they should be, what they are."""
        return dict(zip(self.columns.sums, zip(self.expected.sums, self.actual.sums, strict=True), strict=True))

    def __str__(self) -> str:
        flight = f", {self.in_flight} in flight" if self.in_flight else ""
        if self.agrees:
            return f"{self.name}: {self.expected.rows} rows agree{flight}"
        more = f", {self.unlisted} more unlisted" if self.unlisted else ""
        found = f"{len(self.missing)} missing, {len(self.surplus)} surplus, {len(self.differing)} differing"
        return f"{self.name}: {found}{more}{flight}; {self.expected.rows} rows should be, {self.actual.rows} are"


@dataclass(frozen=True, slots=True)
class Orphans:
    """Rows whose parent is not there: `rows` of them, under `keys` (at most so many as were to be listed)."""

    name: str
    keys: tuple[Key, ...]
    parents_missing: int
    rows: int
    rows_read: int
    started_at: datetime
    elapsed_s: float

    def __str__(self) -> str:
        return f"{self.name}: {self.rows} rows without a parent, of {self.parents_missing} parents"


def differences_of(columns: Columns, key: Key, expected: list[Row], actual: list[Row]) -> list[Difference]:
    """All rows of one key on both sides; one that is there twice and should be once is surplus once."""
    wanted, found = (Counter(columns.form(row) for row in rows) for rows in (expected, actual))
    lacking = _left(columns, expected, wanted - found)
    over = _left(columns, actual, found - wanted)
    both = min(len(lacking), len(over))
    return [
        *(Difference("differing", key, *pair) for pair in zip(lacking[:both], over[:both], strict=True)),
        *(Difference("missing", key, row, None) for row in lacking[both:]),
        *(Difference("surplus", key, None, row) for row in over[both:]),
    ]


def _left(columns: Columns, rows: list[Row], counts: Counter[str]) -> list[Row]:
    left = []
    for row in rows:
        form = columns.form(row)
        if counts[form] > 0:
            counts[form] -= 1
            left.append(row)
    return left
