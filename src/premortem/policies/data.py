"""Policies as data and back: a list of tables, from the outside in, in TOML or any other source of dicts.

    [budgets.shared]
    share = 0.1

    [[orders]]
    kind = "retry"
    on = ["ConnectionError", "httpx.ConnectError"]
    wait = {kind = "backoff", base_s = 0.05}
    budget = "shared"

Each table has a `kind` and the fields of its spec; exception types and functions are dotted names. Every problem of a
document is named in one ConfigurationError: value, rule, way out.
"""

from __future__ import annotations

import importlib
import re
import tomllib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal

from premortem.errors import ConfigurationError
from premortem.policies import dotted
from premortem.policies.budget import RetryBudget
from premortem.policies.policy import Policy

KINDS = {
    "adaptive_concurrency": "adaptive:AdaptiveConcurrency",
    "bulkhead": "bulkhead:Bulkhead",
    "chaos_behaviour": "chaos:ChaosBehaviour",
    "chaos_fault": "chaos:ChaosFault",
    "chaos_latency": "chaos:ChaosLatency",
    "chaos_outcome": "chaos:ChaosOutcome",
    "circuit_breaker": "breaker:CircuitBreaker",
    "deadline": "timeouts:Deadline",
    "fallback": "fallback:Fallback",
    "hedge": "hedging:Hedge",
    "load_shedder": "shedding:LoadShedder",
    "rate_limiter": "rate_limiter:RateLimiter",
    "retry": "retry:Retry",
    "single_flight": "single_flight:SingleFlight",
    "timeout": "timeouts:Timeout",
}
"""The policies: what a table of a list may be. Imported when a document names them."""

PARTS = {
    "aimd": "adaptive:Aimd",
    "backoff": "waits:Backoff",
    "consecutive": "windows:Consecutive",
    "failures_within": "windows:FailuresWithin",
    "fixed": "waits:Fixed",
    "gradient2": "adaptive:Gradient2",
    "rate_of_last": "windows:RateOfLast",
    "rate_within": "windows:RateWithin",
    "slow_calls": "windows:SlowCalls",
    "stale_cache": "stale:StaleCache",
}
"""The values that policies hold: what a table within a table may be."""

Budgets = Mapping[str, RetryBudget]
_BUDGET_FIELDS = ("share", "floor_per_s", "window_s")
_COMPLAINT = re.compile(r"\w+\.(\w+)\b")
_BAD = object()  # a value that was complained about already


def policy_from_data(name: str, data: object, budgets: Budgets | None = None) -> Policy:
    """The policy of a list of tables, or of `{"layers": [...], "budgets": {...}}` as `policy_to_data` writes it.

    `budgets` are those of other policies, to be shared with them. ConfigurationError names every problem.
    """
    reading = _Reading(dict(budgets or {}))
    layers = data
    if isinstance(data, Mapping):
        reading.known(name, data, ("layers", "budgets"))
        reading.read_budgets(data.get("budgets", {}))
        layers = data.get("layers", [])
    specs = reading.specs(name, layers)
    reading.finish()
    return Policy(name, *specs)


def policies_from_toml(source: Path | str) -> dict[str, Policy]:
    """The policies of a document by name: every top-level list is one, `[budgets.<name>]` are what they share.

    `source` is a Path, the name of a file that ends with .toml, or the text itself.
    """
    is_file = isinstance(source, Path) or (source.endswith(".toml") and "\n" not in source)
    try:
        text = Path(source).read_text(encoding="utf-8") if is_file else str(source)
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        where = source if is_file else "the text"
        raise ConfigurationError(f"{where}: cannot be read as TOML: {error}; see https://toml.io") from error
    reading = _Reading({})
    reading.read_budgets(document.pop("budgets", {}))
    read = {name: reading.specs(name, layers) for name, layers in document.items()}
    reading.finish()
    return {name: Policy(name, *specs) for name, specs in read.items()}


def policy_to_data(policy: Policy) -> dict[str, Any]:
    """`{"layers": [...]}` and, where there are any, `"budgets"`: dicts, lists, texts, numbers, bools. No defaults.

    ConfigurationError for what no data can say: a lambda, a store.
    """
    budgets: dict[int, tuple[str, RetryBudget]] = {}
    layers = [{"kind": spec.kind, **_written(spec, budgets)} for spec in policy.specs]
    data: dict[str, Any] = {"layers": layers}
    if budgets:
        data["budgets"] = {name: {one: getattr(b, one) for one in _BUDGET_FIELDS} for name, b in budgets.values()}
    return data


def _written(spec: Any, budgets: dict[int, tuple[str, RetryBudget]]) -> dict[str, Any]:
    values = ((one.name, getattr(spec, one.name), _default(one)) for one in fields(spec))
    return {
        name: _plain(value, budgets) for name, value, default in values if value is not default and value != default
    }


def _plain(value: object, budgets: dict[int, tuple[str, RetryBudget]]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, RetryBudget):
        return budgets.setdefault(id(value), (f"budget_{len(budgets) + 1}", value))[0]
    if isinstance(value, tuple | list):
        return [_plain(one, budgets) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one, budgets) for key, one in value.items()}
    for kind, place in PARTS.items():
        if type(value).__name__ == place.partition(":")[2] and type(value) is _load(place):
            return {"kind": kind, **_written(value, budgets)}
    return dotted.name_of(value)


def _default(one: Field[Any]) -> object:
    return (
        one.default
        if one.default is not MISSING
        else one.default_factory()
        if callable(one.default_factory)
        else MISSING
    )


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"premortem.policies.{module}"), name)


class _Reading:
    """One document on its way to specs; collects what is wrong with it."""

    def __init__(self, budgets: dict[str, RetryBudget]) -> None:
        self.budgets = budgets
        self.problems: list[str] = []

    def finish(self) -> None:
        """Nothing, or one error for all problems."""
        if self.problems:
            count = f"{len(self.problems)} problems:\n  " if len(self.problems) > 1 else ""
            raise ConfigurationError(count + "\n  ".join(self.problems))

    def known(self, where: str, table: Mapping[Any, Any], allowed: Sequence[str]) -> None:
        """Complain about every key that is not allowed."""
        for key in table:
            if key not in allowed:
                close = dotted.near(key, tuple(allowed)) or f"; there are {', '.join(allowed) or 'none'}"
                self.problems.append(f"{where}: unknown field {key!r}{close}")

    def read_budgets(self, data: object) -> None:
        """The budgets of a document, by name."""
        if not isinstance(data, Mapping):
            self.problems.append(f"budgets = {data!r}: has to be a table of tables; write [budgets.shared]")
            return
        for name, table in data.items():
            where = f"budgets.{name}"
            if not isinstance(table, Mapping):
                self.problems.append(f"{where} = {table!r}: has to be a table; write share = 0.2")
                continue
            self.known(where, table, _BUDGET_FIELDS)
            budget = self._made(where, RetryBudget, {key: table[key] for key in _BUDGET_FIELDS if key in table}, {})
            self.budgets[str(name)] = budget  # also a bad one: who names it makes no further mistake

    def specs(self, name: str, layers: object) -> list[Any]:
        """The specs of one policy, as far as they are right."""
        if not isinstance(layers, list | tuple) or not layers:
            self.problems.append(f"{name} = {layers!r}: has to be a list of tables; write [[{name}]]")
            return []
        return [self._part(f"{name}[{place}]", table, KINDS) for place, table in enumerate(layers)]

    def _part(self, where: str, table: object, kinds: Mapping[str, str]) -> Any:
        """A spec, or a value that a spec holds, from its table."""
        if not isinstance(table, Mapping) or "kind" not in table:
            self.problems.append(f"{where} = {table!r}: has to be a table with a kind: one of {', '.join(kinds)}")
            return _BAD
        kind = table["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            close = dotted.near(kind, tuple(kinds)) or f"; there are {', '.join(kinds)}"
            self.problems.append(f"{where}: unknown kind {kind!r}{close}")
            return _BAD
        make: Any = _load(kinds[kind])
        where = f"{where} {kind}"
        known = {one.name: one for one in fields(make) if one.init}
        self.known(where, table, ("kind", *known))
        missing = [one.name for one in known.values() if _default(one) is MISSING and one.name not in table]
        self.problems += [f"{where}: {name} is missing, and has no default" for name in missing]
        hints = typing.get_type_hints(make)
        values = {key: self._value(f"{where}.{key}", table[key], hints[key]) for key in known if key in table}
        stand_ins = {key: _stand_in(hints[key]) for key, one in known.items() if _default(one) is MISSING}
        good = {key: value for key, value in values.items() if value is not _BAD}
        made = self._made(where, make, {**stand_ins, **good}, stand_ins)
        return made if len(good) == len(values) and not missing else _BAD

    def _made(self, where: str, make: Callable[..., Any], values: dict[str, Any], stand_ins: Mapping[str, Any]) -> Any:
        """`make(**values)`; a value that it refuses is replaced and the rest tried again, so as to find them all."""
        refused: set[str] = set()
        while True:
            try:
                made = make(**values)
            except ConfigurationError as error:
                named = _COMPLAINT.match(str(error))
                culprit = named[1] if named else ""
                if culprit in refused:  # its default is refused as well: nothing more to find out
                    return _BAD
                self.problems.append(f"{where}: {error}")
                refused.add(culprit)
                if culprit in stand_ins:
                    values[culprit] = stand_ins[culprit]
                elif values.pop(culprit, _BAD) is _BAD:
                    return _BAD
            except (TypeError, ValueError, OverflowError) as error:  # a spec that does not check what it is told
                self.problems.append(f"{where}: {error}")
                return _BAD
            else:
                return _BAD if refused else made

    def _value(self, where: str, value: object, hint: object) -> Any:
        """`value` as a field with that annotation takes it."""
        wanted = set(_inside(hint))
        if wanted & {Any, object}:
            return value
        if isinstance(value, Mapping):
            return self._part(where, value, PARTS)
        if RetryBudget in wanted:
            return self._budget(where, value)
        names = isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
        if names and (type in wanted or Callable in wanted):
            return self._named(where, value, dotted.found if Callable in wanted else dotted.exception, wanted)
        if not wanted & {int, float, str, bool, Literal, tuple}:
            self.problems.append(f"{where} = {value!r}: has to be a table with a kind: one of {', '.join(PARTS)}")
            return _BAD
        return tuple(value) if isinstance(value, list) and tuple in wanted else value

    def _budget(self, where: str, name: object) -> Any:
        if isinstance(name, str) and name in self.budgets:
            return self.budgets[name]
        close = dotted.near(name, tuple(self.budgets)) or '; write [budgets.<name>] and budget = "<name>"'
        self.problems.append(f"{where} = {name!r}: no budget has this name{close}")
        return _BAD

    def _named(self, where: str, value: Any, find: Callable[[object], object], wanted: set[object]) -> Any:
        names = value if isinstance(value, list) else [value]
        things = []
        for name in names:
            try:
                things.append(find(name))
            except ConfigurationError as error:
                self.problems.append(f"{where} = {error}")
        if len(things) < len(names):
            return _BAD
        return tuple(things) if tuple in wanted else things[0] if len(things) == 1 else value


def _stand_in(hint: Any) -> object:
    """A value that a required field takes, for finding out what the others do not."""
    wanted = set(_inside(hint))
    return Exception if type in wanted else print if Callable in wanted else 1


def _inside(hint: Any) -> Iterator[object]:
    """What an annotation is made of: `tuple[type[Exception], ...] | None` has tuple, type, Exception and None."""
    origin = typing.get_origin(hint) or hint
    yield origin
    if origin not in (Callable, Literal):
        for one in typing.get_args(hint):
            yield from _inside(one)
