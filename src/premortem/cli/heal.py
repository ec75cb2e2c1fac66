"""`premortem heal`: take out the faults that a killed run has left in."""

from __future__ import annotations

import json
from pathlib import Path

import click

from premortem.faults.leases.heal import Healed, Outcome, heal
from premortem.faults.leases.lease_journal import DEFAULT_FOLDER, FOLDER_VARIABLE

_COLOURS = {Outcome.UNDONE: "green", Outcome.NOTHING_TO_DO: "green", Outcome.STILL_RUNS: "cyan"}


@click.command("heal")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be undone, and touch nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def command(*, folder: Path | None, dry_run: bool, as_json: bool) -> int:
    """Take out the faults that a killed run has left in: stopped processes, changed files, lowered limits.

    FOLDER holds the journals of faults; without one it is that of PREMORTEM_FAULTS, else .premortem/faults. Faults
    whose owner still runs are left alone. It may be run at any time and as often as you like.

    Exit codes: 0 no fault is left in, 1 one could not be taken out (or, with --dry-run, is still in), 2 usage.

    \b
    Examples:
      premortem heal --dry-run
      premortem heal
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    found = heal(folder, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps([_record(one) for one in found], indent=2))
    else:
        for one in found:
            outcome = click.style(one.outcome.value, fg=_COLOURS.get(one.outcome, "yellow"))
            click.echo(f"{one.what} (process {one.owner}, {one.opened_at or 'time unknown'}): {outcome}: {one.said}")
        if not found:
            click.echo(f"no fault is left in, says {folder or f'the journal of {FOLDER_VARIABLE} or {DEFAULT_FOLDER}'}")
    return 1 if any(one.stays for one in found) else 0


def _record(one: Healed) -> dict[str, str | int]:
    return {
        "journal": str(one.journal),
        "owner": one.owner,
        "what": one.what,
        "opened_at": one.opened_at,
        "outcome": one.outcome.value,
        "said": one.said,
    }
