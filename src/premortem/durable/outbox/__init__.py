"""Outbox: messages that are written with the data, and published at least once, in order for each key.

A name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from premortem.durable.outbox.delivery import DeadLetter, Publish, Tries
    from premortem.durable.outbox.errors import (
        MovedOutboxError,
        OutsideTransactionError,
        SinkDownError,
        TooManyParkedError,
    )
    from premortem.durable.outbox.message import Message
    from premortem.durable.outbox.monitoring import LaneStatus, Status, status
    from premortem.durable.outbox.moved import adopt
    from premortem.durable.outbox.outbox import AsyncOutbox, Outbox
    from premortem.durable.outbox.parking import Parked, discard, parked, release
    from premortem.durable.outbox.relay import Relay
    from premortem.durable.outbox.tables import create_tables
    from premortem.durable.outbox.turn import Pace

_HOMES = {
    "AsyncOutbox": "outbox",
    "DeadLetter": "delivery",
    "LaneStatus": "monitoring",
    "Message": "message",
    "MovedOutboxError": "errors",
    "Outbox": "outbox",
    "OutsideTransactionError": "errors",
    "Pace": "turn",
    "Parked": "parking",
    "Publish": "delivery",
    "Relay": "relay",
    "SinkDownError": "errors",
    "Status": "monitoring",
    "TooManyParkedError": "errors",
    "Tries": "delivery",
    "adopt": "moved",
    "create_tables": "tables",
    "discard": "parking",
    "parked": "parking",
    "release": "parking",
    "status": "monitoring",
}

__all__ = [
    "AsyncOutbox",
    "DeadLetter",
    "LaneStatus",
    "Message",
    "MovedOutboxError",
    "Outbox",
    "OutsideTransactionError",
    "Pace",
    "Parked",
    "Publish",
    "Relay",
    "SinkDownError",
    "Status",
    "TooManyParkedError",
    "Tries",
    "adopt",
    "create_tables",
    "discard",
    "parked",
    "release",
    "status",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
