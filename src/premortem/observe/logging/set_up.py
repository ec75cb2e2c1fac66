"""One call at the start of a program: structlog and the standard library's logging write to one JSON log."""

from __future__ import annotations

import importlib.util
import logging
import os
from multiprocessing import util

from premortem.errors import ConfigurationError
from premortem.observe.logging.handler import JsonHandler
from premortem.observe.logging.json_log import JsonLog
from premortem.observe.logging.redaction import Redaction
from premortem.observe.logging.repeats import Repeats
from premortem.observe.logging.sinks import Sink
from premortem.observe.logging.sinks.file import FileSink
from premortem.observe.logging.sinks.pipe import PipeSink
from premortem.observe.logging.values import Bounds
from premortem.ports import Clock

_LEVELS = ("debug", "info", "warning", "error", "critical")
_STREAMS = {"stdout": 1, "stderr": 2}


def configure(  # noqa: PLR0913 - by keyword only, each with a default
    where: str | os.PathLike[str] | Sink = "stderr",
    *,
    level: str = "info",
    service: str = "",
    redaction: Redaction | None = None,
    repeats: Repeats | None = Repeats(),  # noqa: B008 - frozen
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    clock: Clock | None = None,
) -> JsonLog:
    """Let structlog (where it is installed) and the root logger write lines of `level` and above to `where`.

    `where` is "stderr", "stdout", a path or a Sink. Handlers that the root logger has stay. `close()` of what is
    returned undoes it; a second call takes the place of the first.
    """
    if level not in _LEVELS:
        raise ConfigurationError(f"configure(level={level!r}): has to be one of {', '.join(_LEVELS)}")
    sink = _sink(where)
    root, number = logging.getLogger(), getattr(logging, level.upper())
    for handler in [one for one in root.handlers if isinstance(one, JsonHandler)]:
        handler.log.close()
    log = JsonLog(sink, service=service, redaction=redaction, repeats=repeats, bounds=bounds, clock=clock)
    handler, before = JsonHandler(log, number), root.level
    root.addHandler(handler)
    root.setLevel(min(number, before or number))
    log.on_close(lambda: root.setLevel(before))
    log.on_close(lambda: root.removeHandler(handler))
    log.flush_at_exit()
    util.register_after_fork(log, JsonLog.flush_at_exit)
    if importlib.util.find_spec("structlog") is not None:
        from premortem.observe.logging import structured  # noqa: PLC0415 - 40 ms, and only where it is installed

        structured.set_up(log, number)
    return log


def _sink(where: str | os.PathLike[str] | Sink) -> Sink:
    if isinstance(where, str) and where in _STREAMS:
        return PipeSink(_STREAMS[where])
    if isinstance(where, str | os.PathLike) and os.fspath(where):
        return FileSink(where)
    if not isinstance(where, Sink):
        raise ConfigurationError(f'configure({where!r}): has to be "stderr", "stdout", a path or a Sink')
    return where
