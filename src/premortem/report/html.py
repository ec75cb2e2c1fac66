"""One page that holds everything: no script, no address outside of it, readable for years and by mail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from premortem.model import Moment, Observation, Proof, Run, Verdict
from premortem.report.legible import ELLIPSIS, legible, one_line, tail
from premortem.report.lesson import Change, changes
from premortem.report.track import HEIGHT, WIDTH, Track, track
from premortem.report.wording import (
    cut_short,
    date,
    exit_code,
    headline,
    in_brief,
    outcome,
    prediction,
    prediction_in_brief,
    seconds,
    to_blame,
    where,
)

# A page is sent by mail: these bounds keep a hundred exhibits under 500 KB. The journal keeps everything.
_MOST_MOMENTS, _LONGEST_DETAIL = 12, 140
_LONGEST_STORY = 800
_MOST_DIFF_LINES, _LONGEST_CODE = 80, 160
_TAIL_LINES, _TAIL_CHARACTERS = 30, 1200

# Classes of the style sheet; short, because they stand on everything.
_CLASSES = {
    Verdict.PROVEN: "vp",
    Verdict.SKIPPED: "vs",
    Verdict.INCONCLUSIVE: "vi",
    Verdict.NOT_REPRODUCED: "vn",
    Verdict.MISPREDICTED: "vm",
    Verdict.GUARD_FAILED: "vg",
}
_TAGS = {"-": "del", "+": "ins", "@": "i", " ": ""}


@dataclass(frozen=True, slots=True)
class Side:
    """One variant as the page shows it."""

    seen: Observation
    mark: str
    outcome: str
    where: str
    track: Track
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of a diff and the element that they stand in."""

    tag: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """One exhibit as the page shows it."""

    anchor: str
    proof: Proof
    story: tuple[tuple[str, str], ...]
    predicted: str
    predicted_in_brief: str
    in_brief: str
    sides: tuple[Side, ...]
    lesson: tuple[Piece, ...]
    output: str
    output_of: str


@dataclass(frozen=True, slots=True)
class Share:
    """A verdict's part of the bar at the top, in percent of its width."""

    verdict: Verdict
    number: int
    left: float
    width: float


def render(run: Run) -> str:
    """The page. Everything from the record is escaped, and everything unprintable in it shown as an escape."""
    cards = tuple(_cards(run.proofs))
    return _page().render(
        run=run,
        title=headline(run),
        started=date(run.started),
        galleries=[(name, list(group)) for name, group in groupby(cards, key=lambda card: card.proof.mode.gallery)],
        cards=cards,
        shares=tuple(_shares(run)),
        lack=cut_short(run),
        exit_code=exit_code(run),
        css=Markup(_part("page.css")),  # noqa: S704 - our own file, not the record
        size=(WIDTH, HEIGHT),
    )


@cache
def _page() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: legible(value) if type(value) is str else value,
    )
    environment.filters |= {"seconds": seconds, "line": one_line}
    environment.globals |= {"classes": _CLASSES, "verdicts": list(Verdict)}
    return environment.from_string(_part("page.html.jinja"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _cards(proofs: Iterable[Proof]) -> Iterator[Card]:
    taken = {"verdicts"}  # the anchor of the table
    for proof in sorted(proofs, key=lambda proof: (proof.mode.gallery, proof.mode.slug)):
        anchor = name = re.sub("[^a-z0-9]+", "-", proof.mode.name.lower()).strip("-") or "exhibit"
        while anchor in taken:
            anchor = f"{name}-{len(taken)}"
        taken.add(anchor)
        yield _card(anchor, proof)


def _card(anchor: str, proof: Proof) -> Card:
    mode, guilty = proof.mode, to_blame(proof)
    told = (("Cause", mode.cause), ("Effect", mode.effect), ("Fix", mode.fix), ("Prevention", mode.prevention))
    return Card(
        anchor=anchor,
        proof=proof,
        story=tuple((heading, one_line(text, _LONGEST_STORY)) for heading, text in told if text),
        predicted=prediction(proof),
        predicted_in_brief=prediction_in_brief(proof),
        in_brief=in_brief(proof),
        sides=() if proof.verdict is Verdict.SKIPPED else (_side(proof.broken), _side(proof.fixed)),
        lesson=tuple(_pieces(changes(mode))),
        output=tail(guilty.output, _TAIL_LINES, _TAIL_CHARACTERS) if guilty is not None else "",
        output_of=guilty.variant if guilty is not None else "",
    )


def _side(seen: Observation) -> Side:
    judged = not (seen.flaw or seen.missing) and (seen.failure is None or seen.failure.who == "subject")
    mark = ("ok" if seen.failure is None else "ko") if judged else "un"
    return Side(seen, mark, outcome(seen), where(seen), track(seen), tuple(_shortened(seen.timeline)))


def _shortened(timeline: tuple[Moment, ...]) -> Iterator[Moment]:
    """Both ends of a long timeline, each detail on one line."""
    half = _MOST_MOMENTS // 2
    for number, moment in enumerate(timeline):
        if len(timeline) <= _MOST_MOMENTS or number < half or number >= len(timeline) - half:
            yield Moment(moment.at_s, one_line(moment.name, 60), one_line(moment.detail, _LONGEST_DETAIL))
        elif number == half:
            yield Moment(moment.at_s, ELLIPSIS, f"{len(timeline) - 2 * half} moments are in the journal alone")


def _pieces(lesson: tuple[Change, ...]) -> Iterator[Piece]:
    """The diff, cut where it would be longer than can be read."""
    left = _MOST_DIFF_LINES
    for change in lesson:
        lines = [_code(line) for line in change.lines[:left]]
        left -= len(lines)
        text = ELLIPSIS if change.sign == "@" else "\n".join(f"{change.sign} {line}".rstrip() for line in lines)
        yield Piece(_TAGS[change.sign], text + "\n")
        if left <= 0:
            yield Piece("i", f"{ELLIPSIS} cut here: `premortem explain` shows all of it\n")
            return


def _code(line: str) -> str:
    return line if len(line) <= _LONGEST_CODE else line[:_LONGEST_CODE] + ELLIPSIS


def _shares(run: Run) -> Iterator[Share]:
    left = 0.0
    for verdict, number in run.counts:
        width = round(100 * number / len(run.proofs), 2)
        yield Share(verdict, number, round(left, 2), width)
        left += width
