"""Policies' events as OpenTelemetry metrics, and as events of the span that is current."""

from __future__ import annotations

from collections.abc import Callable

from premortem.events import Event
from premortem.policies.outlets import Labels, attached, missing

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise missing("opentelemetry-api") from error


def attach(meter: metrics.Meter | None = None, *, spans: bool = True) -> Callable[[], None]:
    """Count with `meter` (default that of the global provider); with `spans`, tell the current span; returns the end.

    Counter `premortem.policy.events` with `policy` and `event`; histogram `premortem.policy.retry.wait` in seconds.
    A span event has the event's name and all its fields as attributes `premortem.<field>`.
    """
    meter = meter or metrics.get_meter("premortem.policies")
    count = meter.create_counter("premortem.policy.events", unit="{event}", description="What policies did")
    waits = meter.create_histogram("premortem.policy.retry.wait", unit="s", description="Waits before retries")
    labels = Labels()

    def note(event: Event) -> None:
        policy, name = labels.of(event)
        count.add(1, {"policy": policy, "event": name})
        if event.name == "policy.retry":
            waits.record(float(event.get("wait_s", 0.0) or 0.0), {"policy": policy})
        span = trace.get_current_span()
        if spans and span.is_recording():
            fields = {f"premortem.{field}": value for field, value in event.fields if value is not None}
            span.add_event(event.name, fields)

    return attached(note)
