"""A variant's timeline as a drawing to scale: faults above, calls of the subject in the middle, checks below.

All marks of one kind share one path, so that a hundred timelines fit in a page that is sent by mail.
"""

from __future__ import annotations

from dataclasses import dataclass

from premortem.model import Moment, Observation

WIDTH, HEIGHT = 360, 66
_MARGIN = 8
_FAULT_Y, _CALL_Y, _CHECK_Y = 11, 33, 55  # the middles of three lanes
_CUT_OFF = frozenset({"hung", "died", "exhausted"})

# Moment to the kind of mark (a class of the style sheet) and its shape, drawn from a point on its lane.
_MARKS = {
    "fault.struck": ("struck", _FAULT_Y, "m0 5l-5-9h10z"),
    "fault.lifted": ("lifted", _FAULT_Y, "m0-4v8"),
    "subject.returned": ("returned", _CALL_Y, "m-4 0l3 4l5-8"),
    "subject.raised": ("raised", _CALL_Y, "m-4-4l8 8m0-8l-8 8"),
    "check.held": ("held", _CHECK_Y, "m-4 0l3 4l5-8"),
    "check.broken": ("violated", _CHECK_Y, "m-4-4l8 8m0-8l-8 8"),
}


@dataclass(frozen=True, slots=True)
class Stroke:
    """Everything of one kind, as SVG path data."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Track:
    """A drawing `WIDTH` units wide that spans `end_s` seconds from its left edge."""

    end_s: float
    strokes: tuple[Stroke, ...]


def track(seen: Observation) -> Track:
    """Draw a timeline; without moments there is nothing to draw."""
    if not seen.timeline:
        return Track(0.0, ())
    end_s = max(moment.at_s for moment in seen.timeline)
    if seen.failure is not None and seen.failure.kind in _CUT_OFF:
        end_s = max(end_s, seen.elapsed_s)
    scale = (WIDTH - 2 * _MARGIN) / (end_s or 1.0)

    def x(at_s: float) -> int:
        return round(_MARGIN + at_s * scale)

    paths: dict[str, dict[str, None]] = {}  # an ordered set: marks that fall on one another are drawn once
    for kind, y, start_s, stop_s in _spans(seen.timeline, end_s):
        bar = f"M{x(start_s)} {y}h{max(x(stop_s) - x(start_s), 2)}"
        paths.setdefault(kind, {})[bar] = None
    for moment in seen.timeline:
        if moment.name in _MARKS:
            kind, y, shape = _MARKS[moment.name]
            paths.setdefault(kind, {})[f"M{x(moment.at_s)} {y}{shape}"] = None
    return Track(end_s, tuple(Stroke(kind, "".join(pieces)) for kind, pieces in paths.items()))


def _spans(timeline: tuple[Moment, ...], end_s: float) -> list[tuple[str, int, float, float]]:
    """Bars: each call of the subject (to the end, if it never came back), each fault that was lifted again."""
    spans: list[tuple[str, int, float, float]] = []
    calls: list[float] = []
    strikes: list[float] = []
    for moment in timeline:
        match moment.name:
            case "subject.called":
                calls.append(moment.at_s)
            case "subject.returned" | "subject.raised" if calls:
                spans.append(("call", _CALL_Y, calls.pop(), moment.at_s))
            case "fault.struck":
                strikes.append(moment.at_s)
            case "fault.lifted" if strikes:
                spans.append(("fault", _FAULT_Y, strikes.pop(), moment.at_s))
            case _:
                pass
    spans += [("lost", _CALL_Y, start_s, end_s) for start_s in calls]
    return spans
