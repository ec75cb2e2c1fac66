"""structlog writing to a JsonLog: its context and processors as ever, our lines at the end of the chain.

What structlog's users know stays: `structlog.get_logger().bind(order=7).info("sent")`. Needs the extra `logging`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from typing import Any, NoReturn

from premortem.errors import MissingRequirementError
from premortem.observe.logging.handler import exception_text
from premortem.observe.logging.json_log import JsonLog

try:
    import structlog
except ImportError as error:
    raise MissingRequirementError(
        "structlog", "it is not installed", "run: pip install 'premortem[logging]'"
    ) from error

Processor = Callable[[Any, str, MutableMapping[str, Any]], NoReturn]


def delivery(log: JsonLog) -> Processor:
    """The last processor of a chain: writes the entry to `log`, and drops it there."""

    def deliver(logger: Any, method: str, entry: MutableMapping[str, Any]) -> NoReturn:  # noqa: ANN401, ARG001 - structlog's own signature
        fields = dict(entry)
        event = fields.pop("event", "")
        level = str(fields.pop("level", method))
        name = str(fields.pop("logger", ""))
        _with_exception(fields, log)
        text = event if isinstance(event, str) else repr(event)
        log.write("error" if level == "exception" else level, text, fields, logger=name)
        raise structlog.DropEvent

    return deliver


def set_up(log: JsonLog, level: int) -> None:
    """Let structlog write to `log` from `level` on (logging.INFO); undone when the log is closed."""
    before = structlog.get_config()
    was_configured = structlog.is_configured()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, delivery(log)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,  # so that closing the log reaches loggers that are at hand
    )
    log.on_close((lambda: structlog.configure(**before)) if was_configured else structlog.reset_defaults)


def _with_exception(fields: dict[str, Any], log: JsonLog) -> None:
    found = fields.pop("exc_info", None)
    if not found:
        return
    error = found if isinstance(found, BaseException) else found[1] if isinstance(found, tuple) else sys.exc_info()[1]
    if error is not None:
        fields["exception"] = exception_text(error, log.redaction)
