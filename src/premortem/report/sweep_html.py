"""A sweep as one page that holds everything, in the look of the report of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from premortem.model.sweep import Outcome, OutcomeClass, Sweep
from premortem.report.legible import legible, one_line, tail
from premortem.report.sweep import clean, exit_code, headline, lacks, what_happened
from premortem.report.wording import date, seconds

_TAIL_LINES, _TAIL_CHARACTERS = 30, 2000
_MOST_RECIPES = 40
# Classes of the style sheet; the symbols of page.css belong to verdicts, so this page says its own beside them.
_CLASSES = {
    Outcome.SURVIVED: "vp",
    Outcome.UNSTRUCK: "vs",
    Outcome.UNJUDGED: "vi",
    Outcome.ERROR: "vn",
    Outcome.HANG: "vm",
    Outcome.CRASH: "vm",
    Outcome.VIOLATION: "vg",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One class of outcomes as the page shows it."""

    anchor: str
    told: OutcomeClass
    what: str
    evidence: str
    output: str
    reproduce: str
    wrong: bool
    recipes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """An outcome's part of the bar at the top, in percent of its width."""

    outcome: Outcome
    number: int
    left: float
    width: float


def render(sweep: Sweep) -> str:
    """The page. Everything from the record is escaped, and everything unprintable in it shown as an escape."""
    return _page().render(
        sweep=sweep,
        title=headline(sweep),
        started=date(sweep.started),
        clean=clean(sweep),
        cards=[_card(sweep, number, one) for number, one in enumerate(sweep.classes, 1)],
        shares=_shares(sweep),
        lacks=lacks(sweep),
        exit_code=exit_code(sweep).removeprefix("exit code "),
        css=Markup(_part("page.css") + _part("sweep.css")),  # noqa: S704 - our own files, not the record
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
    environment.globals |= {"classes": _CLASSES, "outcomes": list(reversed(Outcome))}
    return environment.from_string(_part("sweep_page.html.jinja"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _card(sweep: Sweep, number: int, one: OutcomeClass) -> Card:
    first = one.first
    return Card(
        anchor=f"class-{number}",
        told=one,
        what=what_happened(one),
        evidence=tail(first.evidence, _TAIL_LINES, _TAIL_CHARACTERS),
        output=tail(first.output, _TAIL_LINES, _TAIL_CHARACTERS) if first.output.strip() else "",
        reproduce=sweep.reproduction(first),
        wrong=one.outcome in (*sweep.wrong, Outcome.UNJUDGED),
        recipes=tuple(one.recipes[:_MOST_RECIPES]),
    )


def _shares(sweep: Sweep) -> list[Share]:
    shares, left = [], 0.0
    for outcome, number in sweep.counts:
        width = round(100 * number / len(sweep.trials), 2)
        shares.append(Share(outcome, number, round(left, 2), width))
        left += width
    return shares
