"""The faults that `premortem proxy` takes as options, as one table, and the toxics that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from premortem.cli.quantities import duration, rate, size
from premortem.faults.proxy.toxiproxy import Toxic
from premortem.faults.proxy.toxiproxy.toxic_kinds import STREAM_OF
from premortem.faults.proxy.toxiproxy.toxics import toxic_of


@dataclass(frozen=True, slots=True)
class FaultOption:
    """An option of the command line, and the toxic that it stands for, with the parameter that it sets."""

    flag: str
    toxic: str
    parameter: str
    type: Callable[[str], float] | click.IntRange | None
    help: str
    also: Mapping[str, str] | None = None
    """Further options and the parameters that they set."""


_COUNT = click.IntRange(1)
FAULTS = (
    FaultOption("latency", "latency", "delay_s", duration, "Every byte comes so much later.", {"jitter": "jitter_s"}),
    FaultOption("bandwidth", "bandwidth", "bytes_per_s", rate, "At most so many bytes a second, each connection."),
    FaultOption("slow_close", "slow_close", "delay_s", duration, "The end of a connection comes so much later."),
    FaultOption("slicer", "slicer", "size_bytes", size, "Data comes in pieces of this size.", {"pause": "pause_s"}),
    FaultOption("limit", "limit_data", "bytes_", size, "Close a connection after so many bytes."),
    FaultOption("corrupt", "corrupt", "every_bytes", size, "Damage one byte in so many."),
    FaultOption("fail_first", "fail_first", "n", _COUNT, "Refuse the first N connections, then recover."),
    FaultOption("black_hole", "black_hole", "", None, "Swallow everything, say nothing.", {"after": "close_after_s"}),
    FaultOption("reset", "reset_peer", "", None, "Reset connections (RST), live ones too.", {"after": "after_s"}),
    FaultOption("half_open", "half_open", "", None, "The server's end is gone, and the client is not told."),
    FaultOption("refuse", "refuse", "", None, "Refuse new connections."),
    FaultOption("down", "down", "", None, "Refuse new connections, and drop those that live."),
)


_METAVARS: Mapping[object, str] = {duration: "TIME", size: "SIZE", rate: "RATE", _COUNT: "N"}


def fault_options(function: Callable[..., int]) -> Callable[..., int]:
    """One option a fault, in the table's order."""
    for one in reversed(FAULTS):
        flag = f"--{one.flag.replace('_', '-')}"
        if one.type is None:
            function = click.option(flag, one.flag, is_flag=True, help=one.help)(function)
        else:
            metavar = _METAVARS.get(one.type)
            function = click.option(flag, one.flag, type=one.type, metavar=metavar, help=one.help)(function)
    return function


def toxics_of(recipes: tuple[str, ...], faults: Mapping[str, Any], direction: str, share: float) -> tuple[Toxic, ...]:
    """What was asked for: the recipes first, then in the table's order."""
    stream = STREAM_OF[direction]
    found = [
        Toxic(f"at_{nth}", "at", stream, share, attributes=(("recipe", one),)) for nth, one in enumerate(recipes, 1)
    ]
    for one in FAULTS:
        told = faults[one.flag]
        if told is None or told is False:
            continue
        parameters = {parameter: faults[other] for other, parameter in (one.also or {}).items()}
        if one.parameter:
            parameters[one.parameter] = told
        found.append(toxic_of(one.toxic, parameters, name=one.flag, stream=stream, toxicity=share))
    _refuse_idle(faults)
    return tuple(found)


def _refuse_idle(faults: Mapping[str, Any]) -> None:
    """An option that changes a fault which is not there changes nothing, and says so."""
    for other in ("jitter", "pause", "after"):
        with_ = [one.flag for one in FAULTS if other in (one.also or {})]
        if faults[other] and not any(faults[flag] for flag in with_):
            names = " or ".join(f"--{flag.replace('_', '-')}" for flag in with_)
            raise click.UsageError(f"--{other} changes {names}, which is not there; name both or none")
