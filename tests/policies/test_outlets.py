"""The outlets, with the real libraries; one that is not installed is skipped by name."""

# ruff: noqa: PLC0415 - a library that may be missing is imported where it is needed

import importlib
import importlib.util
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from premortem.events import emit
from premortem.policies import Fixed, Policy, Retry
from premortem.policies.outlets import EVENTS, MOST_POLICIES, Labels, attached
from premortem.policies.outlets import logging as log_outlet
from premortem.policies.testing import captured, virtual_time

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "src" / "premortem" / "policies"


def needs(package: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed: it is in the dev group")


@pytest.fixture
def fails() -> Callable[[], None]:
    """A call that is retried once, and fails."""

    @Policy("orders", Retry(2, on=OSError, wait=Fixed(0.2)))
    def fails() -> None:
        raise OSError("line one\nERROR forged")

    def call() -> None:
        with virtual_time(), pytest.raises(OSError, match="line one"):
            fails()

    return call


@pytest.fixture
def attach() -> Iterator[Callable[..., None]]:
    """Attach an outlet by name until the test ends."""
    ends: list[Callable[[], None]] = []

    def attach(name: str, *args: Any, **kwargs: Any) -> None:
        ends.append(importlib.import_module(f"premortem.policies.outlets.{name}").attach(*args, **kwargs))

    yield attach
    for end in ends:
        end()


def test_logging(fails: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "premortem.policies")
    end = log_outlet.attach()
    fails()
    emit("policy.shed", policy="orders")  # debug: not shown
    emit("fault.struck", what="nothing of ours")
    end()
    fails()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", r"policy.retry policy=orders attempt=1 wait_s=0.2 why='OSError: line one\nERROR forged'"),
        ("WARNING", "policy.retry_exhausted policy=orders attempt=2 why='all attempts are used'"),
    ]
    assert caplog.records[0].premortem_event.get("attempt") == 1  # type: ignore[attr-defined]


@needs("structlog")
def test_structlog(fails: Callable[[], None], attach: Callable[..., None]) -> None:
    import structlog

    with structlog.testing.capture_logs() as entries:
        attach("structlog")
        fails()
        emit("policy.breaker_rejected", policy="orders", event="a field of that name")
    assert entries[0] == {
        "event": "policy.retry", "log_level": "info", "policy": "orders", "attempt": 1, "wait_s": 0.2,
        "why": "OSError: line one\nERROR forged",
    }  # fmt: skip
    assert [entry["log_level"] for entry in entries] == ["info", "warning", "debug"]


@needs("prometheus_client")
def test_prometheus(fails: Callable[[], None]) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from premortem.policies.outlets import prometheus

    registry = CollectorRegistry()
    end = prometheus.attach(registry)
    fails()
    fails()
    emit("policy.breaker_opened", policy="orders")
    emit("policy.of_a_plugin", policy="orders")

    def value(name: str, **labels: str) -> float | None:
        found: float | None = registry.get_sample_value(name, {"policy": "orders", **labels})
        return found

    assert value("premortem_policy_events_total", event="retry") == 2
    assert value("premortem_policy_events_total", event="retry_exhausted") == 2
    assert value("premortem_policy_events_total", event="other") == 1
    assert value("premortem_policy_retry_wait_seconds_sum") == pytest.approx(0.4)
    assert value("premortem_policy_breaker_state") == 2
    emit("policy.breaker_closed", policy="orders")
    assert value("premortem_policy_breaker_state") == 0
    for number in range(2 * MOST_POLICIES):
        emit("policy.retry", policy=f"customer-{number}")
    assert len(re.findall(rb'events_total\{event="retry",', generate_latest(registry))) == MOST_POLICIES + 1
    end()
    assert b"premortem" not in generate_latest(registry)
    prometheus.attach(registry)()


@needs("opentelemetry.sdk") if importlib.util.find_spec("opentelemetry") else needs("opentelemetry")
def test_opentelemetry(fails: Callable[[], None], attach: Callable[..., None]) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    reader, spans = InMemoryMetricReader(), InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    attach("opentelemetry", MeterProvider([reader]).get_meter("test"))
    fails()
    with tracers.get_tracer("test").start_as_current_span("request"):
        fails()
    data: Any = reader.get_metrics_data()
    metrics = {one.name: one for one in data.resource_metrics[0].scope_metrics[0].metrics}
    counted = {point.attributes["event"]: point.value for point in metrics["premortem.policy.events"].data.data_points}
    assert counted == {"retry": 2, "retry_exhausted": 2}
    assert metrics["premortem.policy.retry.wait"].data.data_points[0].sum == pytest.approx(0.4)
    (span,) = spans.get_finished_spans()
    assert [event.name for event in span.events] == ["policy.retry", "policy.retry_exhausted"]
    assert dict(span.events[0].attributes or {})["premortem.wait_s"] == 0.2


@pytest.mark.parametrize(
    ("outlet", "module", "package"),
    [
        ("structlog", "structlog", "structlog"),
        ("prometheus", "prometheus_client", "prometheus-client"),
        ("opentelemetry", "opentelemetry", "opentelemetry-api"),
    ],
)
def test_what_is_missing_is_said_with_what_to_install(outlet: str, module: str, package: str) -> None:
    code = f"""
import sys
sys.modules[{module!r}] = None
from premortem.errors import MissingRequirementError
try:
    import premortem.policies.outlets.{outlet}
except MissingRequirementError as error:
    assert "pip install {package}" in str(error), error
else:
    raise SystemExit("imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_outlet_that_fails_fails_no_call(fails: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: object) -> None:
        del event
        raise RuntimeError("disk full")

    end = attached(broken)
    fails()
    fails()
    end()
    assert len(caplog.records) == 1
    assert "an outlet failed on policy.retry" in caplog.text


def test_labels_are_bounded() -> None:
    labels = Labels(2)
    with captured() as events:
        for policy in ("a", "b", "c", "a"):
            emit("policy.retry", policy=policy)
        emit("policy.unheard_of", policy="a")
    assert [labels.of(event) for event in events] == [
        ("a", "retry"), ("b", "retry"), ("other", "retry"), ("a", "retry"), ("a", "other"),
    ]  # fmt: skip


def _emitted() -> dict[str, set[str]]:
    """Names and fields of the events in the code of the policies."""
    found: dict[str, set[str]] = {}
    for path in POLICIES.rglob("*.py"):
        text = path.read_text()
        for call in re.finditer(r'emit\(\s*"(policy\.\w+)",([^()]*(?:\([^()]*\)[^()]*)*)\)', text):
            found.setdefault(call[1], set()).update(re.findall(r"(\w+)=", call[2]))
        if path.parent == POLICIES and path.name not in {"events.py", "testing.py"}:
            for name in re.findall(r'"(policy\.[a-z_]+)"', text):
                found.setdefault(name, set())
    return found


def test_the_table_has_every_event_that_the_code_emits() -> None:
    emitted = _emitted()
    assert set(emitted) == set(EVENTS)
    for name, fields in emitted.items():
        assert fields - {"policy"} <= set(EVENTS[name].fields), name


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "policies" / "telemetry.md").read_text()
    for name, known in EVENTS.items():
        fields = ", ".join(f"`{field}`" for field in known.fields)
        assert f"| `{name}` | {known.severity} | {fields} | {known.meaning} |" in page
