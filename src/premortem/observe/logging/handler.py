"""For users of the standard library's logging: a handler that writes to a JsonLog, and a formatter of such lines."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

from premortem.observe.logging.json_log import JsonLog
from premortem.observe.logging.redaction import HIDDEN, Redaction
from premortem.observe.logging.values import shortened

_TRACEBACK = 6000
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonHandler(logging.Handler):
    """Writes every record to `log`; `extra={...}` becomes fields. Never raises, whatever is logged."""

    def __init__(self, log: JsonLog, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.log = log

    def createLock(self) -> None:  # noqa: N802 - the standard library's name
        """None: the log has its own, which is waited for a bounded time."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """As `logging.Handler.handle`, which from Python 3.13 on needs a lock."""
        kept: object = self.filter(record)  # a record, from 3.12 on
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler.emit`."""
        try:
            event, fields = told(record, self.log.redaction)
            kind = record.msg if isinstance(record.msg, str) else event
        except Exception as error:  # noqa: BLE001 - the log never stops the work
            event, fields, kind = f"<{type(error).__name__} when it was looked at>", {"at": _place(record)}, ""
        self.log.write(record.levelname.lower(), event, fields, logger=record.name, kind=kind or event)


class JsonFormatter(logging.Formatter):
    """A record as such a line, for handlers that write by themselves; without what `JsonHandler` does for the file."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__()
        self._log = log

    def format(self, record: logging.LogRecord) -> str:
        """As `logging.Formatter.format`: the line, without its end."""
        event, fields = told(record, self._log.redaction)
        at = datetime.fromtimestamp(record.created, UTC)
        line = self._log.line(record.levelname.lower(), event, fields, logger=record.name, at=at)
        return line.decode().rstrip("\n")


def told(record: logging.LogRecord, redaction: Redaction) -> tuple[str, dict[str, object]]:
    """A record's message and fields: what came as `extra`, where it was logged, the traceback."""
    fields: dict[str, object] = {name: value for name, value in vars(record).items() if name not in _OWN}
    if record.levelno >= logging.WARNING:
        fields["at"] = _place(record)
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = exception_text(record.exc_info[1], redaction)
    elif record.exc_text:
        fields["exception"] = shortened(record.exc_text, _TRACEBACK, redaction, end=True)
    if record.stack_info:
        fields["stack"] = record.stack_info
    return _message(record, redaction), fields


def exception_text(error: BaseException | None, redaction: Redaction) -> str:
    """A traceback of bounded length, its end, which says what it was."""
    try:
        text = "".join(traceback.format_exception(error, limit=-50))
    except Exception as other:  # noqa: BLE001 - an error whose __str__ fails is still told
        text = f"{type(error).__name__} ({type(other).__name__} when it was looked at)"
    return shortened(text.rstrip("\n"), _TRACEBACK, redaction, end=True)


def _message(record: logging.LogRecord, redaction: Redaction) -> str:
    arguments = record.args
    if isinstance(arguments, Mapping):  # "%(password)s": the name is beside the value here, and nowhere afterwards
        arguments = {name: HIDDEN if redaction.hides(str(name)) else value for name, value in arguments.items()}
    try:
        template = str(record.msg)
        return template % arguments if arguments else template
    except Exception as error:  # noqa: BLE001 - a template that does not fit its values is no reason to lose the line
        return f"{record.msg!r} % {arguments!r} ({type(error).__name__})"


def _place(record: logging.LogRecord) -> str:
    return f"{record.module}:{record.lineno}"
