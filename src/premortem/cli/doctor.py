"""`premortem doctor`: what this machine can do, each tried for real, with the reason where it cannot."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from premortem.experiment import capabilities


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def command(*, as_json: bool) -> int:
    """Say what this machine can do: Python and paths, libraries, servers, faults.

    Everything is tried, not looked up: servers are started, processes are frozen and killed.
    Exit codes: 0 all is to be had or has a stand-in, 3 something is missing.

    \b
    Example:
      premortem doctor
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    findings, group = [], ""
    for finding in capabilities.tried():
        findings.append(finding)
        if not as_json:
            if finding.group != group:
                group = finding.group
                click.secho(group, bold=True)
            click.echo(_line(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    return 3 if any(finding.lacking for finding in findings) else 0


def _line(finding: capabilities.Finding) -> str:
    """A mark, and the reason where it is not to be had; yellow where something stands in."""
    if finding.works:
        return f"  {click.style('✓', fg='green')} {finding.name:<22} {finding.detail}"
    mark = click.style("✗", fg="red" if finding.lacking else "yellow")
    instead = f"; instead: {finding.instead}" if finding.instead else ""
    return f"  {mark} {finding.name:<22} {finding.detail}{instead}"
