"""The story of one variant as its process wrote it: events on disk, so that a kill loses nothing.

One event is one line, written with one `write` to a file opened for appending: whole lines survive SIGKILL, and
lines of the forks of a subject do not mix. What the last line of a killed writer lost is left out when reading;
any other damage is the exhibit's own doing, and is said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from premortem.errors import ConfigurationError
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
        fields = {name: _storable(value) for name, value in event.fields}
        line = json.dumps([round(self._clock.monotonic() - self._start, 4), event.name, fields])
        os.write(self._file, line.encode() + b"\n")


def _storable(value: object) -> Value:
    """A value as it is kept; evidence in a shape of the exhibit's own (a list, a row) becomes text."""
    return value if value is None or isinstance(value, int | float) else str(value)[:_LONGEST_TEXT]


def read_story(path: Path) -> tuple[Told, ...]:
    """What was written, in order. ConfigurationError when it is gone, or is not what a StoryWriter wrote."""
    told: list[Told] = []
    try:
        for line in path.read_bytes().split(b"\n")[:-1]:
            at_s, name, fields = json.loads(line)
            told.append(Told(float(at_s), Event(str(name), tuple(fields.items()))))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"its story cannot be read ({type(error).__name__}): an exhibit has to leave the folder above "
            "lab.folder alone; keep its files in lab.folder"
        ) from error
    return tuple(told)


_INNER = frozenset({"exhibit.loaded", "exhibit.flawed", "scenario.failed", "scenario.ended"})
_MOST_MOMENTS = 40  # a timeline is for people: of a long one they get both ends


def timeline(story: Iterable[Told]) -> tuple[Moment, ...]:
    """The story for people: without what the machinery says to itself, and no longer than can be read."""
    moments = [
        Moment(told.at_s, told.event.name, _detail(told.event)) for told in story if told.event.name not in _INNER
    ]
    return tuple(moments if len(moments) <= _MOST_MOMENTS else _shortened(moments))


def _shortened(moments: list[Moment]) -> Iterator[Moment]:
    """Both ends, and the first moment of every kind: whether a fault struck, and whether it was healthy before."""
    half = _MOST_MOMENTS // 2
    first = {moment.name: at for at, moment in reversed(list(enumerate(moments)))}
    kept = sorted({*range(half), *first.values(), *range(len(moments) - half, len(moments))})
    for before, at in pairwise([-1, *kept]):
        if (missing := at - before - 1) > 0:
            yield Moment(moments[before + 1].at_s, "story.shortened", f"{missing} moments left out")
        yield moments[at]


def _detail(event: Event) -> str:
    """The fault and what it hit, or what happened; then the rest as name=value."""
    known = dict(event.fields)
    said = ": ".join(str(known.pop(name)) for name in ("fault", "what") if name in known)
    rest = [f"{name}={_plain(value)}" for name, value in known.items() if value is not None]
    return " ".join([said, *rest]).strip()[:300]


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
