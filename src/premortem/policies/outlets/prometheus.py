"""Policies' events as Prometheus metrics, with label values that are bounded."""

from __future__ import annotations

from collections.abc import Callable

from premortem.events import Event
from premortem.policies.outlets import Labels, attached, missing

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    raise missing("prometheus-client") from error

_STATES = {"policy.breaker_closed": 0, "policy.breaker_half_open": 1, "policy.breaker_opened": 2}
_WAITS_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60)


def attach(registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Count into `registry`; returns what ends it and takes the metrics out again.

    `premortem_policy_events_total{policy, event}`; `premortem_policy_retry_wait_seconds{policy}`;
    `premortem_policy_breaker_state{policy}`: 0 closed, 1 half-open, 2 open, from the first change of state on.
    """
    count = Counter("premortem_policy_events", "What policies did", ("policy", "event"), registry=registry)
    waits = Histogram(
        "premortem_policy_retry_wait_seconds", "Waits before retries", ("policy",), registry=registry, buckets=_WAITS_S
    )
    breaker = Gauge("premortem_policy_breaker_state", "0 closed, 1 half-open, 2 open", ("policy",), registry=registry)
    labels = Labels()

    def note(event: Event) -> None:
        policy, name = labels.of(event)
        count.labels(policy, name).inc()
        if event.name == "policy.retry":
            waits.labels(policy).observe(float(event.get("wait_s", 0.0) or 0.0))
        elif event.name in _STATES:
            breaker.labels(policy).set(_STATES[event.name])

    end = attached(note)

    def detach() -> None:
        end()
        for metric in (count, waits, breaker):
            registry.unregister(metric)

    return detach
