"""The story of one variant as its process wrote it: events on disk, so that a kill loses nothing.

One event is one line, written with one `write` to a file opened for appending: whole lines survive SIGKILL, and
lines of the forks of a subject do not mix. What the last line of a killed writer lost is left out when reading.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from premortem.events import Event, Value
from premortem.model import Moment
from premortem.ports import Clock

_LONGEST_TEXT = 2000  # characters of one field; an exception's message may be a whole document


@dataclass(frozen=True, slots=True)
class Told:
    """An event, and how many seconds after the story's start it happened."""

    at_s: float
    event: Event


class StoryWriter:
    """A listener that appends what it hears."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._clock = clock
        self._start = clock.monotonic()

    def __call__(self, event: Event) -> None:
        """Write one event down."""
        fields = {name: value[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in event.fields}
        line = json.dumps([round(self._clock.monotonic() - self._start, 4), event.name, fields])
        os.write(self._file, line.encode() + b"\n")


def read_story(path: Path) -> tuple[Told, ...]:
    """What was written, in order; nothing where nothing was."""
    if not path.exists():
        return ()
    told: list[Told] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        at_s, name, fields = json.loads(line)
        told.append(Told(at_s, Event(name, tuple(fields.items()))))
    return tuple(told)


_INNER = frozenset({"exhibit.loaded", "exhibit.flawed", "scenario.failed", "scenario.ended"})
_MOST_MOMENTS = 40  # a timeline is for people: of a long one they get both ends


def timeline(story: Iterable[Told]) -> tuple[Moment, ...]:
    """The story for people: without what the machinery says to itself, and no longer than can be read."""
    moments = [
        Moment(told.at_s, told.event.name, _detail(told.event)) for told in story if told.event.name not in _INNER
    ]
    if len(moments) <= _MOST_MOMENTS:
        return tuple(moments)
    half = _MOST_MOMENTS // 2
    left_out = Moment(moments[half].at_s, "story.shortened", f"{len(moments) - 2 * half} moments left out")
    return (*moments[:half], left_out, *moments[-half:])


def _detail(event: Event) -> str:
    """The fault and what it hit, or what happened; then the rest as name=value."""
    known = dict(event.fields)
    said = ": ".join(str(known.pop(name)) for name in ("fault", "what") if name in known)
    rest = [f"{name}={_plain(value)}" for name, value in known.items() if value is not None]
    return " ".join([said, *rest]).strip()[:300]


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
