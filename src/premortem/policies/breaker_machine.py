"""The circuit breaker's states and transitions as one table: pure, with the time as an argument.

Laws: what the table does not name cannot happen, the missing key is the error; every transition begins a new era, and
what belongs to an older era changes nothing. The diagram in docs/policies/circuit-breaker.md is drawn from the table.
Prior art: Michael Nygard, "Release It!" (2007), for the three states; Polly for "isolated".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

_GROWTHS = 64  # 2.0 ** 1024 overflows; after 64 openings in a row any cap is long reached
_GUESS = 10  # a caller that comes while all probes are out may come back after this part of the open time


class State(StrEnum):
    """Where a circuit is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"


class Signal(StrEnum):
    """What moves it."""

    TRIPPED = "too many failures"
    RECOVERY_OVER = "a call comes after the recovery time"
    PROBES_SUCCEEDED = "enough probes succeeded"
    PROBE_FAILED = "a probe failed"
    OPENED_BY_HAND = "opened by hand"
    CLOSED_BY_HAND = "closed by hand"
    ISOLATED_BY_HAND = "isolated by hand"


TRANSITIONS: Mapping[tuple[State, Signal], State] = MappingProxyType(
    {
        (State.CLOSED, Signal.TRIPPED): State.OPEN,
        (State.OPEN, Signal.RECOVERY_OVER): State.HALF_OPEN,
        (State.HALF_OPEN, Signal.PROBES_SUCCEEDED): State.CLOSED,
        (State.HALF_OPEN, Signal.PROBE_FAILED): State.OPEN,
        (State.CLOSED, Signal.OPENED_BY_HAND): State.OPEN,
        (State.OPEN, Signal.OPENED_BY_HAND): State.OPEN,
        (State.HALF_OPEN, Signal.OPENED_BY_HAND): State.OPEN,
        (State.ISOLATED, Signal.OPENED_BY_HAND): State.ISOLATED,
        (State.CLOSED, Signal.CLOSED_BY_HAND): State.CLOSED,
        (State.OPEN, Signal.CLOSED_BY_HAND): State.CLOSED,
        (State.HALF_OPEN, Signal.CLOSED_BY_HAND): State.CLOSED,
        (State.ISOLATED, Signal.CLOSED_BY_HAND): State.CLOSED,
        (State.CLOSED, Signal.ISOLATED_BY_HAND): State.ISOLATED,
        (State.OPEN, Signal.ISOLATED_BY_HAND): State.ISOLATED,
        (State.HALF_OPEN, Signal.ISOLATED_BY_HAND): State.ISOLATED,
        (State.ISOLATED, Signal.ISOLATED_BY_HAND): State.ISOLATED,
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """How long it stays open and what closes it; durations in seconds, as `CircuitBreaker` explains them."""

    recovery_s: float = 60.0
    growth: float = 1.0
    recovery_cap_s: float = 3600.0
    probes: int = 1
    successes: int = 1
    probe_limit_s: float = 60.0

    def open_s(self, openings: int) -> float:
        """Seconds that the opening number `openings` (from 1, in a row) lasts."""
        return min(self.recovery_cap_s, self.recovery_s * self.growth ** min(max(0, openings - 1), _GROWTHS))


@dataclass(frozen=True, slots=True)
class Circuit:
    """One moment of a circuit. All times are seconds of one clock, that of the store which keeps it.

    `cause` is what led into the state; `openings` counts openings in a row without a closing; `until` is when probes
    may begin; `probes` are those which are out, as (number, when it is given up for lost).
    """

    state: State = State.CLOSED
    era: int = 0
    cause: Signal | None = None
    openings: int = 0
    opened_at: float | None = None
    until: float = 0.0
    probes: tuple[tuple[int, float], ...] = ()
    probe_number: int = 0
    successes: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call may go; as probe number `probe`, or 0 for an ordinary call. `era` is the circuit's."""

    era: int
    probe: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A call may not go; `retry_after_s` in seconds, None where only a hand can change that."""

    state: State
    retry_after_s: float | None


def moved(circuit: Circuit, signal: Signal, rules: Rules, now: float) -> Circuit:
    """The circuit after `signal`, in a new era. Raises KeyError where the table has no such transition."""
    target = TRANSITIONS[circuit.state, signal]
    era = circuit.era + 1
    if target is State.OPEN:
        openings = circuit.openings + 1 if signal is Signal.PROBE_FAILED else 1
        until = now + rules.open_s(openings)
        return Circuit(target, era, signal, openings, now, until, probe_number=circuit.probe_number)
    if target is State.HALF_OPEN:
        return replace(circuit, state=target, era=era, cause=signal, probes=(), successes=0)
    if target is State.ISOLATED:
        opened_at = now if circuit.opened_at is None else circuit.opened_at
        return Circuit(target, era, signal, opened_at=opened_at, probe_number=circuit.probe_number)
    return Circuit(target, era, signal, probe_number=circuit.probe_number)


def asked(circuit: Circuit, rules: Rules, now: float) -> tuple[Circuit, Admitted | Refused]:
    """A call asks to be let in. In half-open exactly `rules.probes` are out at once."""
    if circuit.state is State.CLOSED:
        return circuit, Admitted(circuit.era, 0)
    if circuit.state is State.ISOLATED:
        return circuit, Refused(circuit.state, None)
    if circuit.state is State.OPEN:
        if now < circuit.until:
            return circuit, Refused(circuit.state, circuit.until - now)
        circuit = moved(circuit, Signal.RECOVERY_OVER, rules, now)
    out = tuple(probe for probe in circuit.probes if now < probe[1])
    if len(out) >= rules.probes:
        return circuit, Refused(circuit.state, rules.open_s(circuit.openings) / _GUESS)
    number = circuit.probe_number + 1
    probes = (*out, (number, now + rules.probe_limit_s))
    return replace(circuit, probes=probes, probe_number=number), Admitted(circuit.era, number)


def tripped(circuit: Circuit, era: int, rules: Rules, now: float) -> Circuit:
    """The window of `era` says that failures are too many; nothing where that era is over."""
    current = circuit.state is State.CLOSED and circuit.era == era
    return moved(circuit, Signal.TRIPPED, rules, now) if current else circuit


def probed(circuit: Circuit, admitted: Admitted, rules: Rules, now: float, *, succeeded: bool | None) -> Circuit:
    """A probe came back: it succeeded, failed, or (None) says nothing and only gives its slot back."""
    if circuit.state is not State.HALF_OPEN or circuit.era != admitted.era:
        return circuit
    if succeeded is False:
        return moved(circuit, Signal.PROBE_FAILED, rules, now)
    successes = circuit.successes + (succeeded is True)
    if successes >= rules.successes:
        return moved(circuit, Signal.PROBES_SUCCEEDED, rules, now)
    probes = tuple(probe for probe in circuit.probes if probe[0] != admitted.probe)
    return replace(circuit, probes=probes, successes=successes)


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.CLOSED}"]
    lines += [f"    {state} --> {target}: {signal}" for (state, signal), target in TRANSITIONS.items()]
    return "\n".join(lines) + "\n"
