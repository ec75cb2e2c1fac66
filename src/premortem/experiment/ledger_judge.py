"""Judging a final read against a ledger: lost, duplicated, resurrected, stale, or of unknown origin. Pure.

Laws:
- A correct system is never accused: a finding is a state that no order of the operations can explain, where each
  acknowledged one took effect between its begin and its end, a failed one never, an unknown one at any time or never.
- Where nothing was acknowledged there is nothing to lose: that is not enough evidence, not a pass.
- Reads are judged one at a time; two that contradict only each other are not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from premortem.errors import ConfigurationError
from premortem.experiment.judgement import Answer, Judgement
from premortem.experiment.operations import Key, Operation, Rows, Value, Values

Fault = Literal["lost", "duplicated", "resurrected", "stale", "of unknown origin"]
Found = Sequence[Value]  # the values of one key: none where it is absent

INVARIANT = "every acknowledged operation is there once, and nothing else"
_SHOWN = 20
_MOST_SUMS = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that no order of the operations explains; `because` is the operation that it goes against."""

    fault: Fault
    key: Key
    seen: str
    because: str

    def __str__(self) -> str:
        return f"{self.key!r} {self.fault}: {self.seen}; {self.because}"


def judge(
    operations: Iterable[Operation],
    final: Rows,
    *,
    initial: Values | None = None,
) -> Judgement:
    """Judge the rows that a final read found. `initial` is what was there before the first operation.

    Read them when nothing is under way any more, from the place that counts.
    """
    history, before = tuple(operations), initial or {}
    found = findings(history, final, initial=before)
    acknowledged = [one for one in history if one.state == "acknowledged" and one.kind != "read"]
    unknown = sum(one.state == "unknown" for one in history)
    counted = f"{len(acknowledged)} acknowledged, {unknown} unknown of {len(history)} operations"
    if found:
        lines = [str(one) for one in found[:_SHOWN]]
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return Judgement(INVARIANT, Answer.BROKEN, "\n".join((f"{counted}; {_summary(found)}", *lines, *more)))
    return Judgement(INVARIANT, Answer.HOLDS if acknowledged else Answer.UNKNOWN, counted)


def findings(
    history: Sequence[Operation],
    final: Rows,
    *,
    initial: Values,
) -> tuple[Finding, ...]:
    """Everything that is wrong, key by key."""
    before: dict[Key, Value] = dict(initial.items())
    rows: dict[Key, list[Value]] = {}
    for key, value in final.items() if isinstance(final, Mapping) else final:
        rows.setdefault(key, []).append(value)
    by_key: dict[Key, list[Operation]] = {key: [] for key in (*before, *rows)}
    for one in history:
        by_key.setdefault(one.key, []).append(one)
    return tuple(
        finding
        for key, operations in by_key.items()
        for finding in _of_key(key, operations, rows.get(key, []), [before[key]] if key in before else [])
    )


def _of_key(key: Key, operations: Sequence[Operation], found: Found, initial: Found) -> list[Finding]:
    kinds = {one.kind for one in operations if one.kind != "read"}
    if kinds > {"add"} or kinds > {"append"}:
        raise ConfigurationError(
            f"{key!r}: was used for {' and '.join(sorted(kinds))}; use one key as a value, a counter or a list alone"
        )
    if kinds == {"append"}:
        return _of_list(key, operations, found, initial)
    if kinds == {"add"}:
        return _of_counter(key, operations, found, initial)
    reads = [_of_value(key, operations, [one.value] if one.there else [], initial, one) for one in _reads(operations)]
    if len(found) > 1:
        fault: Fault = "duplicated" if kinds or initial else "of unknown origin"
        return [*filter(None, reads), Finding(fault, key, f"it is there {len(found)} times", "a key has one value")]
    return [*filter(None, (*reads, _of_value(key, operations, found, initial, None)))]


def _reads(operations: Iterable[Operation]) -> list[Operation]:
    return [one for one in operations if one.kind == "read" and one.state == "acknowledged"]


def _of_value(
    key: Key, operations: Sequence[Operation], found: Found, initial: Found, read: Operation | None
) -> Finding | None:
    """What is wrong with one read of a key, the final one where `read` is None."""
    began, ended = (read.began_s, _end(read)) if read else (inf, inf)
    changes = [one for one in operations if one.kind != "read" and one.state != "failed" and one.began_s <= ended]
    settled = [one for one in changes if one.state == "acknowledged" and _end(one) < began]
    newest = max(settled, key=lambda one: one.began_s, default=None)
    after = newest.began_s if newest else -inf  # what ended before this has been overwritten
    possible = [one for one in changes if one.state == "unknown" or _end(one) >= after]
    if any(_gives(one) == list(found) for one in possible) or (newest is None and list(found) == list(initial)):
        return None
    was_there = list(found) == list(initial) or any(_gives(one) == list(found) for one in changes)
    seen = f"{found[0]!r} is there" if found else "nothing is there"
    seen += f", read at {began:.3f} s" if read else ""
    because = f"its last change was {newest}" if newest else f"it was {list(initial)!r}, and nothing changed that"
    return Finding(_kind_of(operations, found, newest, was_there=was_there), key, seen, because)


def _kind_of(operations: Sequence[Operation], found: Found, newest: Operation | None, *, was_there: bool) -> Fault:
    """The name of what happened to a value that should not be seen; `was_there` is whether it ever should have been."""
    if not found:
        return "lost"
    if was_there:
        return "resurrected" if newest is not None and newest.kind == "delete" else "stale"
    failed = (one for one in operations if one.kind == "write" and one.state == "failed")
    return "resurrected" if any(_gives(one) == list(found) for one in failed) else "of unknown origin"


def _gives(one: Operation) -> list[Value]:
    return [] if one.kind == "delete" else [one.value]


def _end(one: Operation) -> float:
    return inf if one.ended_s is None else one.ended_s


def _of_list(key: Key, operations: Sequence[Operation], found: Found, initial: Found) -> list[Finding]:
    """Each acknowledged value once, each unknown one once at most, no other."""
    counts = {state: Counter(_values(operations, state)) for state in ("acknowledged", "unknown", "failed")}
    there, certain = Counter(found), counts["acknowledged"] + Counter(initial)
    wrong: list[Finding] = []
    for value in sorted({*there, *certain}, key=repr):
        at_least, at_most = certain[value], certain[value] + counts["unknown"][value]
        seen = f"{value!r} is there {there[value]} times"
        asked = (
            f"{at_least} were acknowledged, {counts['unknown'][value]} are unknown, {counts['failed'][value]} failed"
        )
        if there[value] < at_least:
            wrong.append(Finding("lost", key, seen, asked))
        elif there[value] > at_most:
            failed = at_most < there[value] <= at_most + counts["failed"][value]
            fault: Fault = "resurrected" if failed else "duplicated" if at_most else "of unknown origin"
            wrong.append(Finding(fault, key, seen, asked))
    return wrong


def _values(operations: Iterable[Operation], state: str) -> list[Value]:
    return [one.value for one in operations if one.kind == "append" and one.state == state]


def _of_counter(key: Key, operations: Sequence[Operation], found: Found, initial: Found) -> list[Finding]:
    """What was acknowledged, and any choice of what is unknown."""
    if len(found) > 1:
        return [Finding("duplicated", key, f"there {len(found)} times", "a counter has one value")]
    adds = [one for one in operations if one.kind == "add"]
    certain = _total(initial) + sum(_amount(one) for one in adds if one.state == "acknowledged")
    open_amounts = [_amount(one) for one in adds if one.state == "unknown"]
    value = _total(found)
    lowest, highest = (certain + sum(filter(sign, open_amounts)) for sign in (_is_negative, _is_positive))
    if lowest <= value <= highest and _attainable(value - certain, open_amounts):
        return []
    failed = [_amount(one) for one in adds if one.state == "failed"]
    fault: Fault = "lost" if value < lowest else "duplicated" if value > highest else "of unknown origin"
    if failed and value > highest and _attainable(value - certain, open_amounts + failed):
        fault = "resurrected"
    between = f"{certain}" if lowest == highest else f"{lowest} to {highest}"
    return [Finding(fault, key, f"it is {value}", f"the acknowledged amounts and the unknown ones make {between}")]


def _attainable(wanted: int, amounts: Sequence[int]) -> bool:
    """Whether a choice of the amounts makes `wanted`; with too many sums to look at, in doubt for the system."""
    sums = {0}
    for amount in amounts:
        sums |= {amount + one for one in sums}
        if len(sums) > _MOST_SUMS:
            return True
    return wanted in sums


def _amount(one: Operation) -> int:
    assert isinstance(one.value, int)  # as `Ledger.adding` takes it
    return one.value


def _total(values: Found) -> int:
    if not values:
        return 0
    if not isinstance(values[0], int):
        raise ConfigurationError(f"{values[0]!r}: a counter's value has to be a whole number; read it as one")
    return values[0]


def _is_negative(amount: int) -> bool:
    return amount < 0


def _is_positive(amount: int) -> bool:
    return amount > 0


def _summary(found: Sequence[Finding]) -> str:
    return ", ".join(f"{count} {fault}" for fault, count in Counter(one.fault for one in found).items())
