"""From a story on disk and the way its process ended to an observation: pure reading, no judgement."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from premortem.events import Event
from premortem.experiment.isolation import Ending
from premortem.experiment.story import Told, timeline
from premortem.model import Failure, Observation, Prediction, Variant

_FRAME = re.compile(r'File "([^"]+)", line (\d+) in (\S+)')
_OUTPUT_CHARACTERS = 1500  # in the record: enough for a traceback, small enough for a hundred exhibits


@dataclass(frozen=True, slots=True)
class Seen:
    """What a variant showed, and the prediction that it was played under."""

    prediction: Prediction | None
    observation: Observation


def observe(variant: Variant, story: tuple[Told, ...], stack: str, ending: Ending) -> Seen:
    """Read a played variant. `stack` is what the hang watch wrote down, empty when it had no cause to."""
    events = {told.event.name: told.event for told in story}
    loaded = events.get("exhibit.loaded")
    observation = Observation(
        variant,
        timeline=timeline(story),
        failure=_failure(events, story, stack, ending) if loaded else None,
        flaw=_flaw(events, ending),
        missing=_text(events.get("requirement.missing"), "what"),
        output=_tail(ending),
        elapsed_s=ending.elapsed_s,
    )
    return Seen(_prediction(loaded) if loaded else None, observation)


def _prediction(loaded: Event) -> Prediction:
    kind, after_s = cast("Any", loaded.get("kind")), cast("Any", loaded.get("after_s"))
    return Prediction(kind, _text(loaded, "what"), after_s)


def _flaw(events: dict[str, Event], ending: Ending) -> str:
    if flawed := events.get("exhibit.flawed"):
        return _text(flawed, "what")
    if "exhibit.loaded" not in events:
        return f"did not get past its import: {ending.cause}"
    if ending.left_behind:
        return f"left {len(ending.left_behind)} process(es) behind, which were killed: {ending.left_behind[0]}"
    return ""


def _failure(events: dict[str, Event], story: tuple[Told, ...], stack: str, ending: Ending) -> Failure | None:
    if failed := events.get("scenario.failed"):
        return Failure(
            kind=cast("Any", failed.get("kind")),
            what=_text(failed, "what"),
            message=_text(failed, "message"),
            kinds=tuple(_text(failed, "kinds").split("\n")),
            where=_text(failed, "where"),
            who=cast("Any", failed.get("who")),
        )
    if "scenario.ended" in events or "requirement.missing" in events:
        return None
    return _cut_off(story, stack, ending, _prediction(events["exhibit.loaded"]).after_s)


def _cut_off(story: tuple[Told, ...], stack: str, ending: Ending, after_s: float | None) -> Failure:
    """The process did not live to tell: what was it in, and what ended it. `after_s` is a call's own limit."""
    names = [told.event.name for told in story]
    in_subject = names.count("subject.called") > names.count("subject.returned") + names.count("subject.raised")
    who: Any = "subject" if in_subject else "judge"
    where = _where_it_stood(stack)
    if ending.exceeded in ("memory", "processes"):
        return Failure("exhausted", ending.exceeded, f"{ending.peak_bytes >> 20} MiB at the peak", where=where, who=who)
    # Where the signal meets a thread that is just being born or dying, the watch has no stack to write down.
    watch_struck = bool(stack) or (after_s is not None and ending.elapsed_s >= after_s)
    if ending.exceeded == "time" or (watch_struck and ending.status == -signal.SIGALRM):
        limit = (
            f"{after_s:g}" if after_s is not None and in_subject and not ending.exceeded else f"{ending.elapsed_s:.1f}"
        )
        waiting = f", standing at {where}" if where else ""
        return Failure("hung", "", f"did not come back within {limit} s{waiting}", where=where, who=who)
    return Failure("died", ending.cause, who=who)


def _where_it_stood(stack: str) -> str:
    """The exhibit's own line in the stack that the watch wrote down, and where that was waiting."""
    lines = [(Path(file).name, number, name) for file, number, name in _FRAME.findall(stack)]
    if not lines:
        return ""
    own = next((line for line in lines if line[2] in ("broken", "fixed", "scenario")), lines[0])
    told = f"{own[0]}:{own[1]} in {own[2]}"
    return told if own == lines[0] else f"{told}, waiting in {lines[0][2]} ({lines[0][0]}:{lines[0][1]})"


def _tail(ending: Ending) -> str:
    if ending.output_bytes <= _OUTPUT_CHARACTERS:
        return ending.output
    return f"[the last {_OUTPUT_CHARACTERS} of {ending.output_bytes} bytes]\n{ending.output[-_OUTPUT_CHARACTERS:]}"


def _text(event: Event | None, field: str) -> str:
    return str(event.get(field, "")) if event else ""
