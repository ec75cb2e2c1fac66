"""The faults of a proxy, one file each; this table names them all, and a file is loaded when its fault is armed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import cast

from premortem.errors import ConfigurationError
from premortem.faults.proxy.kinds.fault import Fault

KINDS: Mapping[str, str] = {
    "at": "At",
    "bandwidth": "Bandwidth",
    "black_hole": "BlackHole",
    "corrupt": "Corrupt",
    "down": "Down",
    "fail_first": "FailFirst",
    "half_open": "HalfOpen",
    "latency": "Latency",
    "limit": "Limit",
    "refuse": "Refuse",
    "reset": "Reset",
    "slicer": "Slicer",
    "slow_close": "SlowClose",
}
"""The module in this folder, which is the fault's name, and its class."""


def kind(name: str) -> type[Fault]:
    """The class of a fault. ConfigurationError where there is none of that name."""
    if name not in KINDS:
        raise ConfigurationError(f"{name!r} is no fault of a proxy; it has to be one of {', '.join(KINDS)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return cast("type[Fault]", getattr(module, KINDS[name]))
