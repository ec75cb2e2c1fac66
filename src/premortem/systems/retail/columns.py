"""The eight columns of the workbook, and how a header is matched to them.

Laws:
- Case, blanks, underscores and hyphens do not matter: "Customer ID" and "customer_id" are CustomerID.
- All that is wrong with a header is said in one error; a column nobody asked for is named, never loaded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from premortem.systems.retail.errors import HeaderError

Kind = Literal["text", "integer", "number", "date"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the workbook, its name in the database, its type, and whether it may be empty."""

    source: str
    name: str
    kind: Kind
    required: bool = True


COLUMNS = (
    Column("InvoiceNo", "invoiceno", "text"),
    Column("StockCode", "stockcode", "text"),
    Column("Description", "description", "text"),
    Column("Quantity", "quantity", "integer"),
    Column("InvoiceDate", "invoicedate", "date"),
    Column("UnitPrice", "unitprice", "number"),
    Column("CustomerID", "customerid", "integer", required=False),
    Column("Country", "country", "text"),
)
NAMES = tuple(column.name for column in COLUMNS)


@dataclass(frozen=True, slots=True)
class Match:
    """Where the eight columns stand in a header: `positions` in the order of `COLUMNS`, and what is `extra`."""

    positions: tuple[int, ...]
    extra: tuple[str, ...]


def match(header: Sequence[str | None]) -> Match:
    """Find the eight columns in `header`; raises `HeaderError` naming all that are missing or doubled."""
    places: dict[str, list[int]] = {}
    for position, label in enumerate(header):
        places.setdefault(_key(label or ""), []).append(position)
    keys = {column: _key(column.source) for column in COLUMNS}
    missing = tuple(column.source for column, key in keys.items() if key not in places)
    doubled = tuple(column.source for column, key in keys.items() if len(places.get(key, ())) > 1)
    ours = set(keys.values())
    extra = tuple(
        label or f"column {position + 1} (no name)"
        for position, label in enumerate(header)
        if _key(label or "") not in ours
    )
    if missing or doubled:
        raise _error(missing, doubled, extra, tuple(label or "" for label in header))
    return Match(tuple(places[key][0] for key in keys.values()), extra)


def _key(label: str) -> str:
    return re.sub(r"[\s_\-\ufeff]+", "", label).casefold()


def _error(
    missing: tuple[str, ...], doubled: tuple[str, ...], extra: tuple[str, ...], found: tuple[str, ...]
) -> HeaderError:
    said = []
    if missing:
        said.append(f"missing columns: {', '.join(missing)}")
    if doubled:
        said.append(f"columns that occur more than once: {', '.join(doubled)}")
    said.append(f"the header found is: {', '.join(repr(label) for label in found) or 'empty'}")
    guesses = [guess for name in missing if (guess := _guess(name, extra))]
    way_out = "; ".join(guesses) if guesses else "the first row that is not blank must name the columns, each once"
    return HeaderError(f"{'; '.join(said)}; {way_out}", missing=missing, doubled=doubled, found=found)


def _guess(name: str, extra: tuple[str, ...]) -> str:
    by_key = {_key(label): label for label in extra}
    near = difflib.get_close_matches(_key(name), by_key, n=1, cutoff=0.6)
    return f"rename {by_key[near[0]]!r} to {name}, if that is what it is" if near else ""
