"""Where the policies' events go: a table of all of them, and one small module for each place.

    from premortem.policies.outlets import prometheus
    detach = prometheus.attach()        # every event of every policy of the process, until detach()

An outlet never fails a call: what it raises is logged once, and the call goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from premortem.errors import MissingRequirementError
from premortem.events import Event, Listener, subscribe

Severity = Literal["debug", "info", "warning"]


@dataclass(frozen=True, slots=True)
class Known:
    """An event of the policies: how loud, what its fields are besides `policy`, and what it means."""

    severity: Severity
    fields: tuple[str, ...]
    meaning: str


EVENTS: dict[str, Known] = {
    "policy.retry": Known("info", ("attempt", "wait_s", "why"), "an attempt failed, another one follows"),
    "policy.retry_exhausted": Known("warning", ("attempt", "why"), "no further attempt is made"),
    "policy.timeout": Known("warning", ("limit_s",), "an attempt took too long"),
    "policy.timeout_ignored": Known("warning", ("limit_s",), "a coroutine went on after it was cancelled as late"),
    "policy.deadline": Known("warning", ("limit_s",), "the time for all of it is over"),
    "policy.breaker_opened": Known(
        "warning", ("era", "why", "state", "failures", "calls", "openings", "open_s"), "the circuit opened"
    ),
    "policy.breaker_half_open": Known("info", ("era", "probes"), "probes are let through"),
    "policy.breaker_closed": Known("info", ("era", "why", "open_for_s"), "the circuit closed"),
    "policy.breaker_rejected": Known("debug", ("state", "retry_after_s"), "a call met an open circuit"),
    "policy.breaker_store_lost": Known("warning", ("why",), "the shared state cannot be reached; each is on its own"),
    "policy.breaker_store_found": Known("info", ("why",), "the shared state is back"),
    "policy.bulkhead_full": Known("debug", ("limit", "waiting", "wait_s"), "no permit came free"),
    "policy.limit_changed": Known("info", ("limit", "was", "latency_s"), "adaptive concurrency changed its limit"),
    "policy.rate_limited": Known("debug", ("wait_s", "limit_s"), "the rate is used up"),
    "policy.shed": Known("debug", ("priority", "chance"), "a call was shed, for most like it are rejected"),
    "policy.hedge": Known("info", ("call", "delay_s"), "a further call was made, for the one before is slow"),
    "policy.hedge_won": Known("info", ("call",), "a further call answered first"),
    "policy.hedge_refused": Known("info", ("call", "why"), "the budget has nothing for a further call"),
    "policy.fallback": Known("warning", ("to", "why"), "something else was given instead of an answer"),
    "policy.stale": Known("warning", ("age_s", "why"), "an old answer was given instead of a new one"),
    "policy.single_flight_passed_on": Known(
        "info", ("why",), "the call that others waited for ended without an answer"
    ),
    "policy.chaos": Known("info", ("chaos", "seed"), "chaos was injected on purpose"),
}
"""Every event that a policy emits. Those for single rejected calls are `debug`: a flood of them is their nature."""

UNKNOWN = Known("info", (), "an event of somebody's own policy")
OTHER = "other"
MOST_POLICIES = 200
"""So many policies get a label value of their own; a name made from user data must not fill up a metrics server."""


class Labels:
    """Label values that are bounded: names of policies up to `MOST_POLICIES`, events of the table; else "other"."""

    def __init__(self, most: int = MOST_POLICIES) -> None:
        self._most = most
        self._policies: set[str] = set()

    def of(self, event: Event) -> tuple[str, str]:
        """The policy and the event, without "policy."."""
        policy = str(event.get("policy", OTHER))
        if policy not in self._policies:
            if len(self._policies) >= self._most:
                policy = OTHER
            else:
                self._policies.add(policy)
        return policy, event.name.removeprefix("policy.") if event.name in EVENTS else OTHER


def attached(listener: Listener) -> Callable[[], None]:
    """Subscribe `listener` to the policies' events; the function that is returned ends it."""
    failed = False

    def hear(event: Event) -> None:
        nonlocal failed
        if not event.name.startswith("policy."):
            return
        try:
            listener(event)
        except Exception:
            import logging  # noqa: PLC0415 - 15 ms for a case that should not be

            if not failed:
                logging.getLogger("premortem").exception("an outlet failed on %s; said once, calls go on", event.name)
            failed = True

    return subscribe(hear)


def missing(package: str) -> MissingRequirementError:
    """The error for a library that an outlet needs and that is not installed."""
    return MissingRequirementError(package, "it is not installed", f"run: pip install {package}")
