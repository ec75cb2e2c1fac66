"""Say aloud what durable state had to put up with: an event for who listens, a line in the log for who does not.

Law: damage that was survived is still damage; a fallback that nobody hears of is found when the last copy is gone.
"""

from __future__ import annotations

from premortem.events import Value, emit

LOGGER = "premortem.durable"


def tell(name: str, **fields: Value) -> None:
    """Emit the event and log it as a warning; without a handler, the standard library prints that to stderr."""
    import logging  # noqa: PLC0415 - 15 ms for a case that should not be

    emit(name, **fields)
    words = " ".join(f"{field}={value!r}" for field, value in fields.items())
    logging.getLogger(LOGGER).warning("%s %s", name, words)
