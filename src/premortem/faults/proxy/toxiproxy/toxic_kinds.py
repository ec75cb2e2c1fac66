"""What Toxiproxy calls a toxic, as one table: its types and attributes, and the faults and parameters they stand for.

    toxic type   fault        attribute (its unit) = parameter (ours)
    latency      latency      latency (ms) = delay_s, jitter (ms) = jitter_s
    bandwidth    bandwidth    rate (KB/s, of 1000 bytes) = bytes_per_s

The same table is read in both directions, so what is put in over HTTP and what is shown of it cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Stream = Literal["upstream", "downstream", "both"]

DIRECTIONS: Mapping[Stream, Literal["up", "down", "both"]] = {"upstream": "up", "downstream": "down", "both": "both"}
STREAM_OF: Mapping[str, Stream] = {one: stream for stream, one in DIRECTIONS.items()}
STREAMS: Mapping[str, Stream] = {
    "upstream": "upstream",
    "up": "upstream",
    "downstream": "downstream",
    "down": "downstream",
    "both": "both",
}
"""As clients spell them, without regard to case."""

_MS = 1e-3
_US = 1e-6
_KB = 1000  # as Toxiproxy counts: bytes per millisecond


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a toxic: `unit` is how much of the fault's `parameter` one of it makes.

    `never_at_zero`: 0 stands for "not at all", which the fault calls None. `whole`: the fault counts, and measures not.
    """

    name: str
    parameter: str
    unit: float
    whole: bool = False
    never_at_zero: bool = False
    default: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of toxic: the fault it stands for. `directed`: it strikes a stream, and not a whole connection."""

    fault: str
    attributes: tuple[Attribute, ...] = ()
    directed: bool = True


KINDS: Mapping[str, Kind] = {
    "latency": Kind("latency", (Attribute("latency", "delay_s", _MS), Attribute("jitter", "jitter_s", _MS))),
    "bandwidth": Kind("bandwidth", (Attribute("rate", "bytes_per_s", _KB),)),
    "slow_close": Kind("slow_close", (Attribute("delay", "delay_s", _MS),)),
    "timeout": Kind("black_hole", (Attribute("timeout", "close_after_s", _MS, never_at_zero=True),)),
    "reset_peer": Kind("reset", (Attribute("timeout", "after_s", _MS),)),
    "slicer": Kind(
        "slicer",
        (
            Attribute("average_size", "size_bytes", 1, whole=True),
            Attribute("size_variation", "spread_bytes", 1, whole=True),
            Attribute("delay", "pause_s", _US),
        ),
    ),
    "limit_data": Kind("limit", (Attribute("bytes", "bytes_", 1, whole=True),)),
    # From here on premortem's own.
    "black_hole": Kind("black_hole", (Attribute("close_after", "close_after_s", _MS, never_at_zero=True),)),
    "corrupt": Kind("corrupt", (Attribute("every_bytes", "every_bytes", 1, whole=True, default=1000),)),
    "half_open": Kind("half_open", directed=False),
    "refuse": Kind("refuse", directed=False),
    "down": Kind("down", directed=False),
    "fail_first": Kind("fail_first", (Attribute("connections", "n", 1, whole=True, default=1),), directed=False),
    "at": Kind("at", directed=False),
}
