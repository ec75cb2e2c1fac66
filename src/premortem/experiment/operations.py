"""One operation as the ledger knows it: what was asked, when, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Key = str | int
Value = str | int | float | bool | None
Values = (
    Mapping[str, Value] | Mapping[int, Value] | Mapping[Key, Value]
)  # a mapping's keys are of one type for checkers
Rows = Values | Iterable[tuple[Key, Value]]
Kind = Literal["write", "delete", "add", "append", "read"]
State = Literal["acknowledged", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Operation:
    """`began_s` and `ended_s` are on the machine's monotonic clock; `ended_s` is None for one that never came back.

    `failed` is certain: it has not happened, and never will. `cut_off` means that its process died in it. For a read,
    `there` is whether the key was found, and `value` with what. `said` is the exception, in words.
    """

    kind: Kind
    key: Key
    value: Value
    began_s: float
    ended_s: float | None
    state: State
    there: bool = True
    cut_off: bool = False
    said: str = ""

    def __str__(self) -> str:
        what = {"delete": "delete", "read": "read"}.get(self.kind, f"{self.kind} {self.value!r}")
        return f"{what} at {self.began_s:.3f} s: {self.state}" + (f" ({self.said})" if self.said else "")
