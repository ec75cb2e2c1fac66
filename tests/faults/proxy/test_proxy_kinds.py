"""Faults as descriptions: what they refuse, how they are written, and that the table has them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError
from premortem.faults.proxy import kinds
from premortem.faults.proxy.armed import written
from premortem.faults.proxy.control import read_fault
from premortem.faults.proxy.kinds.at import At
from premortem.faults.proxy.kinds.bandwidth import Bandwidth
from premortem.faults.proxy.kinds.black_hole import BlackHole
from premortem.faults.proxy.kinds.corrupt import Corrupt
from premortem.faults.proxy.kinds.down import Down
from premortem.faults.proxy.kinds.fail_first import FailFirst
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.kinds.half_open import HalfOpen
from premortem.faults.proxy.kinds.latency import Latency
from premortem.faults.proxy.kinds.limit import Limit
from premortem.faults.proxy.kinds.refuse import Refuse
from premortem.faults.proxy.kinds.reset import Reset
from premortem.faults.proxy.kinds.slicer import Slicer
from premortem.faults.proxy.kinds.slow_close import SlowClose

ALL: list[Fault] = [
    At("postgres", ("postgres:COMMIT#1:after",), (("hint", "x"),)), Bandwidth(1e5, ttl_s=5), BlackHole(1.0),
    Corrupt(100), Down(), FailFirst(2), HalfOpen(), Latency(0.02, 0.01, direction="up", share=0.5), Limit(9),
    Refuse(share=0.1), Reset(0.5), Slicer(10, 2, 0.1), SlowClose(1.0),
]  # fmt: skip


def test_the_table_names_every_file() -> None:
    folder = Path(kinds.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__", "fault"} == set(kinds.KINDS)
    assert {fault.name for fault in ALL} == set(kinds.KINDS)
    for name in kinds.KINDS:
        assert kinds.kind(name).name == name


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_fault_goes_over_the_channel_unchanged(fault: Fault) -> None:
    import json  # noqa: PLC0415 - the channel's own form

    assert read_fault(json.loads(json.dumps(written(fault)))) == fault


def test_a_fault_is_told_as_it_is_written() -> None:
    assert str(Latency(0.02, share=0.5)) == "latency(share=0.5, delay_s=0.02)"
    assert str(Down()) == "down()"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Latency(-1), "delay_s=-1"),
        (lambda: Latency(0.1, -0.2), "jitter_s=-0.2"),
        (lambda: Latency(float("nan")), "delay_s=nan"),
        (lambda: Latency(float("inf")), "delay_s=inf"),
        (lambda: Bandwidth(-1), "bytes_per_s=-1"),
        (lambda: SlowClose(-1), "delay_s=-1"),
        (lambda: BlackHole(0), "close_after_s=0"),
        (lambda: Reset(-1), "after_s=-1"),
        (lambda: HalfOpen(direction="up"), "direction='up'"),
        (lambda: Slicer(0), "size_bytes=0"),
        (lambda: Slicer(5, 5), "spread_bytes=5"),
        (lambda: Limit(-1), "bytes_=-1"),
        (lambda: Corrupt(0), "every_bytes=0"),
        (lambda: FailFirst(0), "n=0"),
        (lambda: Down(share=1.5), "share=1.5"),
        (lambda: Down(ttl_s=0), "ttl_s=0"),
        (lambda: Down(direction="left"), "direction='left'"),  # type: ignore[arg-type] # the point
        (lambda: At("redis", ("postgres:COMMIT#1",)), "postgres:COMMIT#1"),
        (lambda: At("redis"), "recipes=()"),
        (lambda: kinds.kind("packet_loss"), "packet_loss"),
    ],
)
def test_nonsense_is_refused_with_the_value_and_the_rule(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has to be|arm recipes") as refusal:
        make()
    assert told in str(refusal.value)
