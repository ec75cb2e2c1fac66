"""In the worker: load one exhibit, play its scenario with one variant, and write down what happened."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import (
    ConfigurationError,
    Exhausted,
    FaultError,
    Hung,
    MissingRequirementError,
    Violated,
)
from premortem.events import emit, listening
from premortem.experiment.exhibit import Exhibit, load
from premortem.experiment.lab import Lab, enter
from premortem.experiment.places import Places
from premortem.experiment.story import StoryWriter
from premortem.experiment.subject import Blame, HangWatch, text_of, watched
from premortem.model import Prediction, Variant
from premortem.model.prediction import qualified_name
from premortem.ports import Clock, SystemClock, seeded

STORY, STACK = "story.jsonl", "stack.txt"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is asked to play, and where: `folder` is its own, with nothing in it."""

    path: str
    variant: Variant
    seed: int
    time_s: float
    folder: str
    places: Places


def play(order: Order) -> None:
    """Play it. Everything that is learned goes to the story on disk: the process may not live to return it."""
    folder = Path(order.folder)
    start_folder = Path.cwd()
    clock = SystemClock()
    with listening(StoryWriter(folder / STORY, clock)):
        try:
            sys.path.insert(0, str(start_folder))  # as `python -m` does: a user's exhibit imports the user's code
            exhibit = load(start_folder / order.path)
            prediction = Prediction.of(exhibit.PREDICTION)
        except BaseException as error:  # noqa: BLE001 - an exhibit may raise anything, SystemExit included
            text = str(error) if isinstance(error, ConfigurationError) else _last_words(error)
            emit("exhibit.flawed", what=text)
            return
        emit("exhibit.loaded", kind=prediction.kind, what=prediction.what, after_s=prediction.after_s)
        _perform(order, exhibit, prediction, clock)


def _perform(order: Order, exhibit: Exhibit, prediction: Prediction, clock: Clock) -> None:
    folder = Path(order.folder)
    enter(folder / "work")
    random.seed(order.seed)
    blame = Blame()
    watch = HangWatch(folder / STACK, order.time_s, clock, prediction.after_s)
    subject = watched(getattr(exhibit, order.variant), watch, blame)
    lab = Lab(folder / "work", order.seed, seeded(order.seed), clock, order.places, blame)
    try:
        try:
            outcome = exhibit.scenario(subject, lab)
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
        finally:
            lab.close()
    except MissingRequirementError as error:
        emit("requirement.missing", what=str(error))
    except BaseException as error:  # noqa: BLE001 - the subject may raise anything, SystemExit included
        _tell_failure(error, blame)
    else:
        emit("scenario.ended")


def _tell_failure(error: BaseException, blame: Blame) -> None:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    subjects = blame.is_subjects(error) and not isinstance(error, FaultError)
    kind, what, message = _classified(error)
    emit(
        "scenario.failed",
        kind=kind,
        what=what,
        message=message,
        kinds="\n".join(qualified_name(base) for base in type(error).__mro__ if base is not object),
        where=_innermost(error),
        who="subject" if subjects else "judge",
    )
    with suppress(OSError, ValueError):  # a subject may have closed its standard error
        traceback.print_exception(error)


def _classified(error: BaseException) -> tuple[str, str, str]:
    match error:
        case Violated():
            return "violated", error.invariant, error.evidence
        case Exhausted():
            return "exhausted", error.resource, error.evidence
        case Hung():
            return "hung", "", str(error)
    return "raised", qualified_name(type(error)), text_of(error)


def _innermost(error: BaseException) -> str:
    """The last line of the exhibit itself that the error passed, else the last line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if frame.name in ("broken", "fixed", "scenario")] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}"


def _last_words(error: BaseException) -> str:
    words = "".join(traceback.format_exception_only(error)).strip()
    return f"raised when it was imported: {words} ({_import_line(error)})"


def _import_line(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "no line"  # noqa: PTH119
