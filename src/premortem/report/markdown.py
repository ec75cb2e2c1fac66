"""Markdown, as GitHub shows it in the summary of a job: a table of verdicts, and each proof folded below it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from premortem.model import Observation, Proof, Run, Verdict
from premortem.report.legible import legible, one_line, tail
from premortem.report.lesson import unified
from premortem.report.wording import (
    SYMBOLS,
    counts,
    cut_short,
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

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#!|~@:])")
_MOST_DETAILS = 100_000  # characters; GitHub takes a megabyte of summary for a whole job, and other steps want some


def render(run: Run) -> str:
    """The document. Proven exhibits lose their details first where there is too much of it, and it says so."""
    blocks = ["\n".join(_head(run)), "\n".join(_table(run))]
    left, left_out = _MOST_DETAILS, 0
    for proof in sorted(run.proofs, key=lambda proof: -proof.verdict.severity):
        block = "\n".join(_details(proof))
        if len(block) > left:
            left_out += 1
            continue
        left -= len(block)
        blocks.append(block)
    if left_out:
        blocks.append(f"The details of {left_out} more are in the HTML report.")
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(run: Run) -> Iterator[str]:
    yield f"## {SYMBOLS[run.verdict]} premortem: {headline(run)}"
    if lack := cut_short(run):
        yield f"\n> **{text(lack)}**"
    yield f"\n{text(counts(run))}. In {seconds(run.elapsed_s)}, seed {code(str(run.seed))}, {text(exit_code(run))}."
    facts = ", ".join(f"{text(fact.name)} {text(fact.value)}" for fact in run.facts)
    yield f"\nRun {code(run.id)}, {text(run.started)}" + (f", {facts}" if facts else "")


def _table(run: Run) -> Iterator[str]:
    if not run.proofs:
        return
    yield "| Verdict | Exhibit | Predicted | What happened | Seconds |"
    yield "| --- | --- | --- | --- | ---: |"
    for proof in run.proofs:
        cells = [
            _verdict(proof.verdict),
            code(proof.mode.name),
            text(prediction_in_brief(proof)),
            text(in_brief(proof)),
        ]
        yield f"| {' | '.join(cells)} | {proof.elapsed_s:.2f} |"


def _details(proof: Proof) -> Iterator[str]:
    mode = proof.mode
    yield f"<details><summary>{_verdict(proof.verdict)}: {markup(mode.name)}: {markup(mode.title)}</summary>\n"
    for heading, told in (
        ("Verdict", proof.reason),
        ("Cause", mode.cause),
        ("Effect", mode.effect),
        ("Fix", mode.fix),
        ("Prevention", mode.prevention),
        ("Predicted", prediction(proof)),
        ("broken", outcome(proof.broken)),
        ("fixed", outcome(proof.fixed)),
        ("Where", where(to_blame(proof))),
    ):
        if told:
            yield f"- **{heading}**: {text(told, 1000)}"
    for seen in (proof.broken, proof.fixed):
        yield from _strikes(seen)
    if lesson := unified(mode):
        yield "\n" + block(lesson.rstrip("\n"), "diff")
    seen_worse = to_blame(proof)
    if seen_worse is not None and seen_worse.output:
        yield f"\nThe end of what {seen_worse.variant} printed:\n\n{block(tail(seen_worse.output, 20, 1500))}"
    yield f"\nReproduce: {code(proof.command)}\n\n</details>"


def _strikes(seen: Observation) -> Iterator[str]:
    if seen.strikes:
        struck = "; ".join(f"{moment.detail} at {moment.at_s:.3f} s" for moment in seen.strikes[:5])
        yield f"- **Struck {seen.variant}**: {text(struck)}"


def _verdict(verdict: Verdict) -> str:
    return f"{SYMBOLS[verdict]} {verdict.value}"  # its underscores stand inside a word, where they mean nothing


def text(told: str, longest: int = 300) -> str:
    """Foreign text as text: no markup, no table cell and no HTML begins or ends in it."""
    return _SPECIAL.sub(r"\\\1", markup(told, longest))


def markup(told: str, longest: int = 300) -> str:
    """Foreign text inside an HTML block, where Markdown's own escapes mean nothing."""
    return html.escape(one_line(told, longest), quote=False)


def code(told: str) -> str:
    """Foreign text as a code span. An HTML element, because it can hold backticks and pipes without exceptions."""
    return f"<code>{text(told)}</code>"


def block(told: str, language: str = "") -> str:
    """Foreign text as a fenced block, with a fence longer than any that it holds."""
    shown = legible(told)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", shown)), 3)
    return f"{fence}{language}\n{shown}\n{fence}"
