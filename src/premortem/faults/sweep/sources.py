"""The sources that a plan asks for, by the world of their recipes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from premortem.faults.sweep.call_source import CallSource
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.source import Source
from premortem.faults.sweep.wires import Wire


@contextmanager
def opened(plan: Plan) -> Iterator[dict[str, Source]]:
    """All of them, entered; a world that nobody asked for is not imported."""
    sources: dict[str, Source] = {}
    with ExitStack() as stack:
        if plan.wires:
            from premortem.faults.sweep.wire_source import WireSource  # noqa: PLC0415 - the proxy, only where wanted

            wires = tuple(Wire.parse(wire) for wire in plan.wires)
            source = stack.enter_context(WireSource(wires, plan.seed))
            sources |= {wire.protocol: source for wire in wires}
        if plan.watch:
            from premortem.faults.sweep.syscall_source import SyscallSource  # noqa: PLC0415 - same, the filters

            sources["syscall"] = stack.enter_context(SyscallSource(plan.watch, plan.from_mark))
        if plan.calls:
            sources["call"] = stack.enter_context(CallSource(plan.calls))
        yield sources
