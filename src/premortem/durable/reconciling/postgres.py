"""A side in PostgreSQL: counted, summed and hashed there, so that equal ranges cost no row on the wire.

All looks of a comparison are in one REPEATABLE READ transaction, so nothing moves meanwhile; two sides that name the
same URL or the same connection share it, and are seen at the same moment.
"""

# ruff: noqa: S608 - every name in a statement is quoted, every value a parameter, the query its owner's

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from premortem.durable.errors import StoreDownError
from premortem.durable.reconciling.columns import Columns, Key, Kind, Row
from premortem.durable.reconciling.lite import quoted
from premortem.durable.reconciling.sides import Look, Tally, in_order
from premortem.errors import ConfigurationError, MissingRequirementError

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

_CONNECT_S = 10
_AT_ONCE = 500  # keys of one statement, rows of one round trip
_TEXTS = frozenset({25, 1043})  # text and varchar: a cast would keep their index from being used
_FLOATS = frozenset({700, 701})
_INTEGERS = frozenset({20, 21, 23})
_FLAG = 16
_ARGUMENTS = 50  # of concat_ws(), which takes a hundred
_NO_KEY = -1

_FORMS: dict[Kind, str] = {
    "text": "{0}::text",
    "number": "trim_scale({0}::numeric)::text",
    "float": "CASE WHEN {0}::float8 = 'NaN' THEN '7ff8000000000000' "
    "ELSE encode(float8send({0}::float8 + 0.0::float8), 'hex') END",
    "date": "to_char({0}::date, 'YYYY-MM-DD')",
    "moment": "(extract(epoch FROM {0}::timestamptz) * 1000000)::bigint::text",
    "flag": "CASE WHEN {0}::boolean THEN 't' WHEN NOT {0}::boolean THEN 'f' END",
    "bytes": "encode({0}::bytea, 'hex')",
}


class PostgresSide:
    """A query, with its parameters by name ("%(day)s"; without parameters a % is just a %).

    `where` is a URL, or a psycopg connection that is in no transaction. No statement takes more than `statement_s`
    seconds.
    """

    def __init__(
        self,
        where: str | Connection[Any],
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        name: str = "postgres",
        statement_s: float = 600.0,
    ) -> None:
        if not 0 < statement_s <= 86400:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"PostgresSide.statement_s = {statement_s!r}: has to be up to 86400 seconds")
        text = query.rstrip().rstrip(";")
        self.query = text.replace("%", "%%") if parameters is None else text
        self.where, self.parameters = where, dict(parameters or {})
        self.name, self.statement_s = name, statement_s

    def __repr__(self) -> str:
        return f"PostgresSide(name={self.name!r})"  # the URL may hold a password

    @contextmanager
    def look(self, columns: Columns, beside: Look | None = None) -> Iterator[Look]:
        """As `Side.look`. MissingRequirementError without psycopg."""
        psycopg = _psycopg()
        with _spoken(psycopg, self.name):
            if isinstance(beside, PostgresLook) and beside.side.where == self.where:
                yield PostgresLook(beside.connection, self, columns)
                return
            with self._connected(psycopg) as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                connection.execute("SET LOCAL TimeZone = 'UTC'")
                connection.execute(f"SET LOCAL statement_timeout = {int(self.statement_s * 1000)}")
                yield PostgresLook(connection, self, columns)

    @contextmanager
    def _connected(self, psycopg: Any) -> Iterator[Connection[Any]]:  # noqa: ANN401 - a module
        if isinstance(self.where, str):
            with psycopg.connect(self.where, autocommit=True, connect_timeout=_CONNECT_S) as connection:
                yield connection
            return
        if self.where.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            raise ConfigurationError(
                f"{self.name}: its connection is in a transaction, whose moment is not ours; commit it, or pass a URL"
            )
        yield self.where


class PostgresLook:
    """As `Look`, inside the transaction of `connection`."""

    _numbers = itertools.count()

    def __init__(self, connection: Connection[Any], side: PostgresSide, columns: Columns) -> None:
        self.connection, self.side, self.columns = connection, side, columns
        self._source = f"({side.query}) AS source"
        names = ", ".join(map(_named, columns.read))
        with self._cursor() as cursor:
            cursor.execute(f"SELECT {names} FROM {self._source} LIMIT 0", side.parameters)
            self._types = {
                name: one.type_code for name, one in zip(columns.read, cursor.description or (), strict=True)
            }

    def tallies(self, low: Key | None, cuts: Sequence[Key], high: Key | None) -> list[Tally]:
        """As `Look.tallies`, in one statement."""
        named = dict(self.side.parameters)
        part = f"CASE WHEN {' OR '.join(f'{_named(name)} IS NULL' for name in self.columns.key)} THEN {_NO_KEY}"
        for number, key in enumerate(cuts):
            part += f" WHEN ({self._keys()}) < ({_marks(key, f'cut{number}_', named)}) THEN {number}"
        part += f" ELSE {len(cuts)} END"
        summed = [f"{self._number(name)} AS sum{place}" for place, name in enumerate(self.columns.sums)]
        totals = [f", coalesce(sum(sum{place}), 0)" for place in range(len(summed))]
        inner = ", ".join(
            (f"{part} AS part", f"encode(sha256(convert_to({self._form()}, 'UTF8')), 'hex') AS form", *summed)
        )
        statement = (
            "SELECT part, count(*), sum(('x' || substr(form, 1, 15))::bit(60)::bigint), "
            f"sum(('x' || substr(form, 16, 15))::bit(60)::bigint){''.join(totals)} "
            f"FROM (SELECT {inner} FROM {self._source}{self._within(low, high, named)} OFFSET 0) AS formed "
            "GROUP BY part"
        )  # OFFSET 0: each row is hashed once
        found = [Tally(sums=(Decimal(0),) * len(summed))] * (len(cuts) + 1)
        with self._cursor() as cursor:
            for number, rows, first, second, *sums in cursor.execute(statement, named):
                if number == _NO_KEY:
                    raise ConfigurationError(f"{self.side.name}: {rows} rows have no key; leave them out in the query")
                found[number] = Tally(rows, (int(first), int(second)), tuple(sums))
        return found

    def cuts(self, low: Key | None, high: Key | None, step: int) -> list[Key]:
        """As `Look.cuts`."""
        named = dict(self.side.parameters)
        names = ", ".join(f"{self._selected(name)} AS {_named(name)}" for name in self.columns.key)
        statement = (
            f"SELECT {', '.join(map(_named, self.columns.key))} FROM (SELECT {names}, row_number() OVER (ORDER BY "
            f"{self._keys()}) AS premortem_n FROM {self._source}{self._within(low, high, named)}) AS numbered "
            f"WHERE premortem_n > 1 AND mod(premortem_n - 1, {step}) = 0 ORDER BY premortem_n"
        )
        only_keys = Columns(self.columns.key)
        with self._cursor() as cursor:
            keys = [only_keys.row(values, self.side.name) for values in cursor.execute(statement, named)]
        return [key for key, _ in itertools.groupby(keys) if key != low]

    def rows(self, low: Key | None, high: Key | None) -> Iterator[Row]:
        """As `Look.rows`, some hundred at a time."""
        named = dict(self.side.parameters)
        return self._read(self._within(low, high, named), named)

    def rows_of(self, keys: Sequence[Key]) -> Iterator[Row]:
        """As `Look.rows_of`."""
        for begin in range(0, len(keys), _AT_ONCE):
            named = dict(self.side.parameters)
            marks = (f"({_marks(key, f'key{n}_', named)})" for n, key in enumerate(keys[begin : begin + _AT_ONCE]))
            yield from self._read(f" WHERE ({self._keys(collated=False)}) IN ({', '.join(marks)})", named)

    def _read(self, where: str, named: Mapping[str, object]) -> Iterator[Row]:
        names = ", ".join(map(self._selected, self.columns.read))
        statement = f"SELECT {names} FROM {self._source}{where} ORDER BY {self._keys()}"
        with self._cursor(f"premortem_reconcile_{next(self._numbers)}") as cursor:
            cursor.execute(statement, named)
            rows = (self.columns.row(values, self.side.name) for values in cursor)
            yield from in_order(rows, self.columns, self.side.name)

    def _cursor(self, name: str = "") -> Cursor[Any]:
        from psycopg.rows import tuple_row  # noqa: PLC0415 - as _psycopg

        if not name:
            return self.connection.cursor(row_factory=tuple_row)
        cursor = self.connection.cursor(name, row_factory=tuple_row)
        cursor.itersize = _AT_ONCE
        return cursor

    def _within(self, low: Key | None, high: Key | None, named: dict[str, object]) -> str:
        conditions = [
            f"({self._keys()}) {sign} ({_marks(key, side, named)})"
            for side, sign, key in (("low", ">=", low), ("high", "<", high))
            if key is not None
        ]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def _keys(self, *, collated: bool = True) -> str:
        """The key, in an order that does not depend on the database's language."""
        return ", ".join(
            f'{self._selected(name)} COLLATE "C"' if collated and kind == "text" else self._selected(name)
            for name, kind in self.columns.key.items()
        )

    def _selected(self, name: str) -> str:
        kind, source = self.columns.read[name], self._types[name]
        if kind == "text" and source not in _TEXTS:
            return f"{_named(name)}::text"
        if kind == "moment":
            return f"{_named(name)}::timestamptz"
        return f"{_named(name)}::date" if kind == "date" else _named(name)

    def _number(self, name: str) -> str:
        return f"{self._exact(name)}::numeric"

    def _exact(self, name: str) -> str:
        """A float by its shortest text, as Python has it: a cast would round it, or show float4's tail."""
        if self._types[name] in _FLOATS:
            return f"{_named(name)}::text"
        return (
            f"{_named(name)}::int"
            if self._types[name] == _FLAG and self.columns.read[name] == "number"
            else _named(name)
        )

    def _one_form(self, name: str, kind: Kind) -> str:
        if kind == "number" and self._types[name] in _INTEGERS:
            return f"{_named(name)}::text"
        return _FORMS[kind].format(self._exact(name))

    def _form(self) -> str:
        """As `Columns.form`."""
        forms = (self._one_form(name, kind) for name, kind in self.columns.compared.items())
        quoted_forms = [f"quote_nullable({form})" for form in forms]
        groups = (quoted_forms[begin : begin + _ARGUMENTS] for begin in range(0, len(quoted_forms), _ARGUMENTS))
        return " || ',' || ".join(f"concat_ws(',', {', '.join(group)})" for group in groups)


def _marks(key: Key, prefix: str, named: dict[str, object]) -> str:
    for place, value in enumerate(key):
        named[f"premortem_{prefix}{place}"] = value
    return ", ".join(f"%(premortem_{prefix}{place})s" for place in range(len(key)))


def _named(name: str) -> str:
    return quoted(name).replace("%", "%%")


def _psycopg() -> Any:  # noqa: ANN401 - a module
    try:
        import psycopg  # noqa: PLC0415 - optional: only who compares a PostgreSQL needs it
    except ImportError as error:
        raise MissingRequirementError(
            "psycopg", "it is not installed", "run: pip install 'premortem[retail]'"
        ) from error
    return psycopg


@contextmanager
def _spoken(psycopg: Any, name: str) -> Iterator[None]:  # noqa: ANN401 - a module
    try:
        yield
    except psycopg.OperationalError as error:
        raise StoreDownError(name, _first_line(error)) from error
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            f"{name}: {_first_line(error)}; mend the query, or its columns' names and kinds"
        ) from error
    except psycopg.DataError as error:
        raise ConfigurationError(f"{name}: {_first_line(error)}; name the true kind, or cast in the query") from error


def _first_line(error: Exception) -> str:
    return next(iter(f"{error}".splitlines()), type(error).__name__)
