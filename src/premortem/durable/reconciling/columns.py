"""Which columns are compared, and of which kind: so that 1.50 in one store and 1.5 in the other are one number.

Every value has one form as text, which PostgreSQL and Python write alike; rows are compared and hashed in that form.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Literal, TypeAlias, cast

from premortem.errors import ConfigurationError

Kind = Literal["text", "number", "float", "date", "moment", "flag", "bytes"]
KINDS: tuple[Kind, ...] = ("text", "number", "float", "date", "moment", "flag", "bytes")
KEY_KINDS = ("text", "number", "date", "moment")
Value: TypeAlias = "str | int | float | Decimal | date | datetime | bytes | None"
Key: TypeAlias = tuple[Value, ...]
Row: TypeAlias = tuple[Value, ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_DIGITS = 140_000  # PostgreSQL's numeric has up to 131,072 before the point
_NAN = "7ff8000000000000"
_TRUE, _FALSE = ("t", "true", "1", "yes"), ("f", "false", "0", "no")


@dataclass(frozen=True)
class Columns:
    """The columns that both sides have, each with its kind, in order.

    `key` says which row is which; `values` are compared; `sums` are those of them (numbers) whose totals are reported;
    `changed` is a column, on either side, that says when a row was last changed. Kinds: text, number (exact: 1.50 is
    1.5), float, date, moment (a naive one is UTC), flag, bytes.
    """

    key: Mapping[str, Kind]
    values: Mapping[str, Kind] = field(default_factory=dict)
    sums: tuple[str, ...] = ()
    changed: str = ""

    def __post_init__(self) -> None:
        if not self.key:
            raise ConfigurationError('Columns.key is empty: rows are told apart by it; write key={"id": "number"}')
        for name, kind in {**self.values, **self.key}.items():
            if kind not in KINDS:
                raise ConfigurationError(f"Columns: {name!r} is of kind {kind!r}; choose one of {', '.join(KINDS)}")
        for name, kind in self.key.items():
            if kind not in KEY_KINDS:
                raise ConfigurationError(
                    f"Columns.key: {name!r} is of kind {kind!r}, which has no order that all stores share; "
                    f"choose one of {', '.join(KEY_KINDS)}"
                )
        if twice := set(self.key) & set(self.values):
            raise ConfigurationError(f"Columns: {', '.join(sorted(twice))} stands in key and in values; leave one")
        for name in self.sums:
            if self.values.get(name) != "number":
                raise ConfigurationError(f"Columns.sums: {name!r} has to be one of `values`, of the kind number")

    @cached_property
    def compared(self) -> dict[str, Kind]:
        """Key and values."""
        return {**self.key, **self.values}

    @cached_property
    def read(self) -> dict[str, Kind]:
        """All that is read of a row, in the order of a `Row`."""
        more: dict[str, Kind] = {self.changed: "moment"} if self.changed and self.changed not in self.compared else {}
        return {**self.compared, **more}

    def row(self, values: tuple[object, ...], where: str) -> Row:
        """What a store gave for `read`, in the forms of this module. ConfigurationError where it is not of its kind."""
        found = tuple(
            cast("Value", value) if value is None or type(value) is plain else normal(kind, value, where, name)
            for (name, kind, plain), value in zip(self._kinds, values, strict=True)
        )
        for name, value in zip(self.key, found, strict=False):
            if value is None or (isinstance(value, Decimal) and value.is_nan()):
                raise ConfigurationError(f"{where}: a row has {value} as {name}, so it has no key; leave it out in SQL")
        return found

    @cached_property
    def _kinds(self) -> tuple[tuple[str, Kind, type | None], ...]:
        """Each column's name and kind, and the type of which values are normal as they are."""
        return tuple((name, kind, _AS_IT_IS.get(kind)) for name, kind in self.read.items())

    @cached_property
    def _written(self) -> tuple[Kind, ...]:
        return tuple(self.compared.values())

    def same(self, row: Row, other: Row) -> bool:
        """Whether two rows are plainly the same; where they are not, `form` has the last word (NaN)."""
        length = len(self._written)
        return row[:length] == other[:length]

    def key_of(self, row: Row) -> Key:
        """A row's key."""
        return row[: len(self.key)]

    def form(self, row: Row) -> str:
        """A row's key and values as one text, as quote_nullable() writes them; rows are the same where these are."""
        return ",".join(_quoted(kind, value) for kind, value in zip(self._written, row, strict=False))

    def changed_at(self, row: Row | None) -> datetime | None:
        """When it was last changed, where that is known."""
        if row is None or not self.changed:
            return None
        value = row[list(self.read).index(self.changed)]
        return value if isinstance(value, datetime) else None


def normal(kind: Kind, value: object, where: str, column: str = "") -> Value:
    """A value in its kind's own type: "1.50" of the kind number is Decimal("1.5"), 3.0 is 3."""
    if value is None:
        return None
    try:
        return _NORMAL[kind](value)
    except (TypeError, ValueError, InvalidOperation, OverflowError):
        place = f"{where}.{column}" if column else where
        raise ConfigurationError(
            f"{place} holds a {type(value).__name__} that is no {kind}; name its true kind, or cast it in the query"
        ) from None


def written(kind: Kind, value: Value) -> str | None:  # noqa: PLR0911 - one line for each kind
    """The one form as text of a value that is `normal`; None stays None."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        return format(value, "f")
    if kind == "float":
        return _NAN if math.isnan(float(value)) else struct.pack(">d", value).hex()  # type: ignore[arg-type]
    if isinstance(value, datetime):
        return str(micros(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if kind == "flag":
        return "t" if value else "f"
    return str(value)


def _quoted(kind: Kind, value: Value) -> str:
    text = value if type(value) is str else written(kind, value)
    if text is None:
        return "NULL"
    if "'" in text:
        text = text.replace("'", "''")
    return "E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"


def reread(kind: Kind, text: str | None) -> Value:
    """What `written` wrote."""
    if text is None:
        return None
    if kind == "float":
        return float(struct.unpack(">d", bytes.fromhex(text))[0])
    if kind == "moment":
        return moment_of(int(text))
    if kind == "bytes":
        return bytes.fromhex(text)
    return normal(kind, text, "spool")


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """The other way round."""
    return _EPOCH + timedelta(microseconds=microseconds)


_AS_IT_IS: dict[Kind, type] = {"text": str, "number": int, "date": date, "flag": bool, "bytes": bytes}


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return str(value)


def _number(value: object) -> int | Decimal:
    if isinstance(value, int):
        return int(value)
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)  # type: ignore[arg-type]
    if not exact.is_finite():
        return exact
    if abs(exact.adjusted()) > _MOST_DIGITS:
        raise OverflowError
    if exact == exact.to_integral_value():
        return int(exact)
    sign, digits, exponent = exact.as_tuple()  # normalize() would round to the context's precision
    assert isinstance(exponent, int)
    whole = "".join(map(str, digits)).rstrip("0")
    return Decimal((sign, tuple(map(int, whole)), exponent + len(digits) - len(whole)))


def _float(value: object) -> float:
    return float(value) + 0.0  # type: ignore[arg-type]  # -0.0 becomes 0.0


def _date(value: object) -> date:
    if isinstance(value, datetime):
        return _moment(value).date()
    return value if isinstance(value, date) else date.fromisoformat(value)  # type: ignore[arg-type]


def _moment(value: object) -> datetime:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)  # type: ignore[arg-type]
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _flag(value: object) -> bool:
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError
    return text in _TRUE


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    return bytes(value)


_NORMAL = {
    "text": _text,
    "number": _number,
    "float": _float,
    "date": _date,
    "moment": _moment,
    "flag": _flag,
    "bytes": _bytes,
}
