"""The half of a chunk's work that needs no database: read, judged, keyed, written as COPY reads it, one chunk ahead.

Law: at most two chunks are held, the one that the database is taking and the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from premortem.systems.retail.content import Occurrences, keyed
from premortem.systems.retail.copying import encode
from premortem.systems.retail.pieces import Piece, Pieces, Position
from premortem.systems.retail.progress import Claim
from premortem.systems.retail.rules import Limits, classify
from premortem.systems.retail.settings import RetailSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ready:
    """A chunk that only has to be sent. `keys` where sameness is by content; `rules` is what it was judged by."""

    begin: Position
    end: Position
    last: bool
    read: int
    good: pl.DataFrame
    good_data: memoryview
    dead: pl.DataFrame
    dead_data: memoryview
    dead_by_rule: tuple[tuple[str, int], ...]
    keys: pl.DataFrame | None
    warnings: tuple[str, ...]
    rules: str


class Preparation:
    """What makes pieces ready for a claim."""

    def __init__(self, pieces: Pieces, claim: Claim, settings: RetailSettings, *, by_content: bool) -> None:
        self._pieces, self._claim, self._rows = pieces, claim, settings.retail_chunk_rows
        self._seen = Occurrences() if by_content else None
        # Judged by the moment of the first claim, however often it is resumed.
        self._limits = Limits.at(
            claim.started, price_max=settings.retail_price_max, quantity_max=settings.retail_quantity_max
        )
        self._rules = " ".join(
            (
                f"price_max={self._limits.price_max:g}",
                f"quantity_max={self._limits.quantity_max}",
                f"latest={self._limits.latest:%Y-%m-%dT%H:%M:%S}",
            )
        )

    def all(self) -> Iterator[Ready]:
        """The chunks from where the claim begins; raises `SourceError`."""
        begin = self._claim.begin
        if self._seen is not None and begin is not None:
            for piece in self._pieces.read(None, self._rows):
                if piece.begin.row >= begin.row:
                    break
                good = classify(piece.table, self._limits).good
                keyed(good.filter(pl.col("source_row") < begin.row), self._seen)
        for piece in self._pieces.read(begin, self._rows):
            yield self._ready(piece)

    def _ready(self, piece: Piece) -> Ready:
        rows = classify(piece.table, self._limits)
        common = {"source_file": pl.lit(self._pieces.name), "batch": pl.lit(self._claim.batch)}
        good, dead = rows.good.with_columns(**common), rows.dead.with_columns(**common)
        return Ready(
            piece.begin,
            piece.end,
            piece.last,
            piece.table.rows.height,
            good,
            encode(good),
            dead,
            encode(dead),
            rows.dead_by_rule,
            None if self._seen is None else keyed(good, self._seen),
            piece.table.warnings,
            self._rules,
        )


@contextmanager
def ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, each made by another thread while the one before it is in use."""
    with ThreadPoolExecutor(1, thread_name_prefix="retail-ahead") as pool:

        def one_by_one() -> Iterator[T]:
            coming = pool.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item

        yield one_by_one()
