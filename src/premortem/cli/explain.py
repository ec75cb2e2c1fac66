"""`premortem explain`: the story of one failure, and what came out when it was made to happen."""

from __future__ import annotations

import json
import sys
import textwrap

import click

from premortem.cli import runs, targets
from premortem.errors import ConfigurationError
from premortem.model import FailureMode, Observation, Proof, journal
from premortem.report import comparison, terminal

_HEADINGS = ("cause", "effect", "fix", "prevention")


@click.command("explain")
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def command(target: str, *, as_json: bool) -> None:
    """Explain TARGET: cause, effect, fix, prevention; and expected, actual and correct output side by side.

    The output is that of the last recorded run; where there is none, the failure is proven now.

    \b
    Example:
      premortem explain negative-prices
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    mode = targets.resolve_one(target)
    if mode.flaw:
        raise ConfigurationError(f"{mode.path}: {mode.flaw}")
    proof = _recorded(mode) or _proven_now(mode)
    if as_json:
        story = {heading: getattr(mode, heading) for heading in _HEADINGS}
        sides = {"expected": str(proof.prediction), "actual": _said(proof.broken), "correct": _said(proof.fixed)}
        click.echo(
            json.dumps({"name": mode.name, "title": mode.title, **story, "verdict": proof.verdict, **sides}, indent=2)
        )
        return
    console = terminal.console(sys.stdout)
    click.secho(f"{mode.name}: {mode.title}", bold=True)
    for heading in _HEADINGS:
        indent = " " * 14
        text = textwrap.fill(
            getattr(mode, heading), min(console.width, 100), initial_indent=indent, subsequent_indent=indent
        )
        click.echo("  " + click.style(f"{heading.capitalize():<12}", bold=True) + text[14:])
    click.echo()
    console.print(comparison.columns(proof, console.width))
    console.print(terminal.badge(proof.verdict), end="  ")
    click.echo(f"again: premortem prove {mode.slug}    the difference: premortem show {mode.slug}")


def _recorded(mode: FailureMode) -> Proof | None:
    """The newest proof of this very text: one of an older version of the exhibit tells another story."""
    for path in runs.newest_first():
        for proof in journal.read(path).proofs:
            if proof.mode == mode and proof.prediction is not None:
                return proof
    return None


def _proven_now(mode: FailureMode) -> Proof:
    from premortem.cli.prove import prove_now  # noqa: PLC0415 - not imported where a record is enough

    return prove_now([mode]).proofs[0]


def _said(seen: Observation) -> str:
    return str(seen.failure) if seen.failure else "survived"
