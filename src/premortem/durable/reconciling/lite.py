"""Sides without a server: a query of a SQLite file, and anything that can be iterated, which is spooled into one.

SQLite's keys are texts, 64-bit integers and ISO dates, for it sorts by what is stored. The spool is a temporary file,
so rows in any order and any number take disk, not memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from premortem.durable.errors import StoreDownError
from premortem.durable.reconciling.columns import (
    Columns,
    Key,
    Kind,
    Row,
    Value,
    micros,
    moment_of,
    normal,
    reread,
    written,
)  # fmt: skip
from premortem.durable.reconciling.sides import Look, StreamedLook
from premortem.errors import ConfigurationError

Record = Mapping[str, object] | Sequence[object]
_AT_ONCE = 200  # keys of one statement
_INT64 = 1 << 63
_WAIT_S = 10.0


class SqliteSide:
    """A query of the SQLite file at `path`, with its parameters by name (":day")."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        name: str = "",
    ) -> None:
        self.path, self.query, self.parameters = Path(path), query.rstrip().rstrip(";"), dict(parameters or {})
        self.name = name or self.path.name

    @contextmanager
    def look(self, columns: Columns, beside: Look | None = None) -> Iterator[Look]:
        """As `Side.look`: one read transaction, which in WAL mode holds nobody up."""
        if isinstance(beside, _SqliteLook) and beside.path == self.path:
            yield _SqliteLook(beside.connection, self, columns)
            return
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_S, isolation_level=None
            )
            with closing(connection), _spoken(self.name):
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the moment that is looked at
                yield _SqliteLook(connection, self, columns)
        except sqlite3.OperationalError as error:
            raise StoreDownError(self.name, f"{error}") from error


class IterableSide:
    """Rows from a list, or from a function that returns an iterable (it is called for each look anew).

    A row is a mapping with the columns' names, or a sequence of `Columns.read` in order.
    """

    def __init__(self, rows: Callable[[], Iterable[Record]] | Sequence[Record], *, name: str = "rows") -> None:
        if not callable(rows) and iter(rows) is rows:  # type: ignore[comparison-overlap]
            raise ConfigurationError(
                "IterableSide: an iterator can be read once, and a difference is looked at twice; "
                "pass a function that returns it"
            )
        self._rows, self.name = rows, name

    @contextmanager
    def look(self, columns: Columns, beside: Look | None = None) -> Iterator[Look]:  # noqa: ARG002 - as Side
        """As `Side.look`."""
        with TemporaryDirectory(prefix="premortem-reconcile-") as folder:
            connection = sqlite3.connect(Path(folder) / "spool", isolation_level=None)
            with closing(connection):
                _spool(connection, columns, self._rows() if callable(self._rows) else self._rows, self.name)
                yield _SpoolLook(connection, columns, self.name)


class _Queried(StreamedLook):
    """What both have in common: a statement with a range, in the key's order."""

    def __init__(self, connection: sqlite3.Connection, columns: Columns, name: str) -> None:
        super().__init__(columns, name)
        self.connection = connection
        self._source, self._named = "", dict[str, object]()

    def rows(self, low: Key | None, high: Key | None) -> Iterator[Row]:
        """As `Look.rows`."""
        named: dict[str, object] = {}
        conditions = [
            f"({self._keys()}) {sign} ({self._marks(key, side, named)})"
            for side, sign, key in (("low", ">=", low), ("high", "<", high))
            if key is not None
        ]
        return self._selected(" AND ".join(conditions), named)

    def rows_of(self, keys: Sequence[Key]) -> Iterator[Row]:
        """As `Look.rows_of`."""
        for begin in range(0, len(keys), _AT_ONCE):
            named: dict[str, object] = {}
            marks = (f"({self._marks(key, f'k{n}_', named)})" for n, key in enumerate(keys[begin : begin + _AT_ONCE]))
            yield from self._selected(f"({self._keys()}) IN (VALUES {', '.join(marks)})", named)

    def _selected(self, condition: str, named: Mapping[str, object]) -> Iterator[Row]:
        names = ", ".join(map(_column, self.columns.read))
        where = f" WHERE {condition}" if condition else ""
        statement = f"SELECT {names} FROM {self._source} AS source{where} ORDER BY {self._keys()}"  # noqa: S608 - names are quoted
        for values in self.connection.execute(statement, {**self._named, **named}):
            yield self._row(values)

    def _keys(self) -> str:
        return ", ".join(f"{_column(name)} COLLATE BINARY" for name in self.columns.key)

    def _marks(self, key: Key, prefix: str, named: dict[str, object]) -> str:
        for place, (value, kind) in enumerate(zip(key, self.columns.key.values(), strict=True)):
            named[f"pm_{prefix}{place}"] = self._stored(kind, value)
        return ", ".join(f":pm_{prefix}{place}" for place in range(len(key)))

    def _row(self, values: tuple[object, ...]) -> Row:
        raise NotImplementedError

    def _stored(self, kind: Kind, value: Value) -> object:
        raise NotImplementedError


class _SqliteLook(_Queried):
    """A look at a query."""

    def __init__(self, connection: sqlite3.Connection, side: SqliteSide, columns: Columns) -> None:
        super().__init__(connection, columns, side.name)
        self.path = side.path
        self._source, self._named = f"({side.query})", side.parameters
        if "moment" in columns.key.values():
            raise ConfigurationError(
                f"{side.name}: a moment is a key, and SQLite has texts for moments, in several forms; "
                "select a number (unixepoch) or a text of one form"
            )

    def _row(self, values: tuple[object, ...]) -> Row:
        return self.columns.row(values, self.name)

    def _stored(self, kind: Kind, value: Value) -> object:  # noqa: ARG002 - as the spool
        return value.isoformat() if isinstance(value, date) else value


class _SpoolLook(_Queried):
    """A look at what was spooled, in forms of our own that sort as their kinds do."""

    def __init__(self, connection: sqlite3.Connection, columns: Columns, name: str) -> None:
        super().__init__(connection, columns, name)
        self._source = "spool"

    def _row(self, values: tuple[object, ...]) -> Row:
        kinds = list(self.columns.read.values())
        keys = len(self.columns.key)
        return (
            *(_from_key(kind, value) for kind, value in zip(kinds[:keys], values[:keys], strict=True)),
            *(reread(kind, value) for kind, value in zip(kinds[keys:], values[keys:], strict=True)),  # type: ignore[arg-type]
        )

    def _stored(self, kind: Kind, value: Value) -> object:  # noqa: ARG002 - as above
        return _as_key(value, self.name)


def _spool(connection: sqlite3.Connection, columns: Columns, rows: Iterable[Record], name: str) -> None:
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"CREATE TABLE spool ({', '.join(map(quoted, columns.read))})")
    marks = ", ".join("?" * len(columns.read))
    connection.execute("BEGIN")
    connection.executemany(
        f"INSERT INTO spool VALUES ({marks})",  # noqa: S608 - question marks
        (_spooled(columns.row(_values(record, columns, name), name), columns, name) for record in rows),
    )
    connection.execute("COMMIT")
    connection.execute(f"CREATE INDEX keys ON spool ({', '.join(map(quoted, columns.key))})")


def _values(record: Record, columns: Columns, name: str) -> tuple[object, ...]:
    try:
        found = tuple(record[one] for one in columns.read) if isinstance(record, Mapping) else tuple(record)
    except KeyError as error:
        raise ConfigurationError(f"{name}: a row has no {error}; name the columns that it has") from None
    if len(found) != len(columns.read):
        raise ConfigurationError(f"{name}: a row has {len(found)} values for the columns {', '.join(columns.read)}")
    return found


def _spooled(row: Row, columns: Columns, name: str) -> tuple[object, ...]:
    keys = len(columns.key)
    kinds = list(columns.read.values())
    return (
        *(_as_key(value, name) for value in row[:keys]),
        *(written(kind, value) for kind, value in zip(kinds[keys:], row[keys:], strict=True)),
    )


def _as_key(value: Value, name: str) -> object:
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str) or (isinstance(value, int) and -_INT64 <= value < _INT64):
        return value
    raise ConfigurationError(f"{name}: {value!r} is a key; a number that is one has to be a whole number of 64 bits")


def _from_key(kind: Kind, value: object) -> Value:
    return moment_of(value) if kind == "moment" and isinstance(value, int) else normal(kind, value, "spool")


@contextmanager
def _spoken(name: str) -> Iterator[None]:
    """A statement that SQLite does not understand is the user's; a file that it cannot read is the operator's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if any(word in f"{error}" for word in ("no such", "syntax error", "misuse", "binding")):
            raise ConfigurationError(f"{name}: {error}; mend the query, or the names of its columns") from error
        raise


def _column(name: str) -> str:
    """By its source: SQLite takes a quoted name that is no column for a text."""
    return f"source.{quoted(name)}"


def quoted(name: str) -> str:
    """A column's name as SQL wants it."""
    if not name or "\0" in name:
        raise ConfigurationError(f"{name!r}: is no name of a column")
    return '"' + name.replace('"', '""') + '"'
