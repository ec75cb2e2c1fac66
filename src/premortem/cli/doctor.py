"""`premortem doctor`: what this machine can do, each tried for real, with the reason where it cannot."""

from __future__ import annotations

import json

import click

from premortem.experiment import capabilities


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def command(*, as_json: bool) -> int:
    """Say what this machine can do: Python and paths, libraries, servers, faults.

    Everything is tried, not looked up: servers are started, processes are frozen and killed.
    Exit codes: 0 all is to be had, 3 something is missing.

    \b
    Example:
      premortem doctor
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    findings = []
    for finding in capabilities.tried():
        findings.append(finding)
        if not as_json:
            mark = click.style("✓", fg="green") if finding.works else click.style("✗", fg="red")
            click.echo(f"{mark} {finding.name:<22} {finding.detail}")
    if as_json:
        records = [{"name": one.name, "works": one.works, "detail": one.detail} for one in findings]
        click.echo(json.dumps(records, indent=2))
    return 0 if all(finding.works for finding in findings) else 3
