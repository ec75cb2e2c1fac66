"""Structured logging for pipelines: one line of JSON each that always parses, and a log that never stops the work.

    from premortem.observe.logging import configure, correlated
    log = configure("work/pipeline.log", service="retail")     # structlog, where it is installed, and `logging`
    with correlated(file="online.xlsx"):
        logging.getLogger("retail").info("chunk loaded", extra={"rows": 5000})

Laws: a call that logs never raises and waits for a bounded time; what could not be written is counted, and told in
the log itself when it can be written again; a secret is hidden before anything is cut; time comes in by argument.
A name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from premortem.observe.logging.carrying import CarryingThreadPool, adopt, carried, handed_over
    from premortem.observe.logging.correlation import bound_fields, correlated, correlation_id, environment, new_id
    from premortem.observe.logging.handler import JsonFormatter, JsonHandler
    from premortem.observe.logging.json_log import Counts, JsonLog
    from premortem.observe.logging.redaction import Redaction
    from premortem.observe.logging.repeats import Repeats
    from premortem.observe.logging.set_up import configure
    from premortem.observe.logging.sinks.file import FileSink
    from premortem.observe.logging.sinks.pipe import PipeSink
    from premortem.observe.logging.values import Bounds

_HOMES = {
    "Bounds": "values",
    "CarryingThreadPool": "carrying",
    "Counts": "json_log",
    "FileSink": "sinks.file",
    "JsonFormatter": "handler",
    "JsonHandler": "handler",
    "JsonLog": "json_log",
    "PipeSink": "sinks.pipe",
    "Redaction": "redaction",
    "Repeats": "repeats",
    "adopt": "carrying",
    "bound_fields": "correlation",
    "carried": "carrying",
    "configure": "set_up",
    "correlated": "correlation",
    "correlation_id": "correlation",
    "environment": "correlation",
    "handed_over": "carrying",
    "new_id": "correlation",
}

__all__ = [
    "Bounds",
    "CarryingThreadPool",
    "Counts",
    "FileSink",
    "JsonFormatter",
    "JsonHandler",
    "JsonLog",
    "PipeSink",
    "Redaction",
    "Repeats",
    "adopt",
    "bound_fields",
    "carried",
    "configure",
    "correlated",
    "correlation_id",
    "environment",
    "handed_over",
    "new_id",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
