"""A TCP proxy on loopback, in a process of its own, that puts faults into connections; nothing is loaded until used."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as `typing` has it; importing that takes longer than all the rest
if TYPE_CHECKING:
    from premortem.faults.proxy.armed import Armed, Recording, Strike
    from premortem.faults.proxy.client import Connection, FaultProxy
    from premortem.faults.proxy.host import ProxyHost
    from premortem.faults.proxy.kinds.fault import Fault

_HOMES = {
    "Armed": "armed",
    "Connection": "client",
    "Fault": "kinds.fault",
    "FaultProxy": "client",
    "ProxyHost": "host",
    "Recording": "armed",
    "Strike": "armed",
}

__all__ = ["Armed", "Connection", "Fault", "FaultProxy", "ProxyHost", "Recording", "Strike"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
