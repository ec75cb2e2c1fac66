"""`premortem prove`: make failures happen, and prove that their guards hold."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from premortem.cli import targets
from premortem.cli.runs import RUNS
from premortem.experiment.session import Plan, carry_out
from premortem.model import FailureMode, Run
from premortem.report import FORMATS, progress, render, terminal


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came: everything is undone on the way out, and the exit code says which."""


@click.command("prove")
@click.argument("target", nargs=-1)
@click.option("--jobs", "-j", type=int, help="Variants that run at the same time. [default: one a core]")
@click.option("--seed", type=int, help="Replay the randomness of a run that printed this seed.")
@click.option("--time-limit", type=float, default=10.0, show_default=True, metavar="SECONDS", help="For each variant.")
@click.option("--memory-limit", type=int, default=1024, show_default=True, metavar="MIB", help="For each variant.")
@click.option("--json", "as_json", is_flag=True, help="The run as one JSON document on standard output.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Also write JUnit XML, for CI.")
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Also write Markdown.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the HTML report there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress; the table alone.")
def command(  # noqa: PLR0913 - one parameter an option
    target: tuple[str, ...],
    *,
    jobs: int | None,
    seed: int | None,
    time_limit: float,
    memory_limit: int,
    as_json: bool,
    junit: Path | None,
    markdown: Path | None,
    html: Path | None,
    quiet: bool,
) -> int:
    """Prove failures: the broken variant has to fail as predicted, the fixed one has to survive the same fault.

    TARGET is a slug, a gallery, or a path to exhibits of your own; without one, all of the museum is proven.

    \b
    Examples:
      premortem prove
      premortem prove ingest
      premortem prove negative-prices --seed 42
      premortem prove tests/failures/ --junit failures.xml

    Exit codes: 0 all proven, 1 a proof failed, 2 usage or configuration, 3 inconclusive or skipped only.
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    modes = targets.resolve(target)
    given = {"jobs": jobs, "seed": seed}
    plan = Plan(
        RUNS,
        time_s=time_limit,
        memory_mib=memory_limit,
        **{name: value for name, value in given.items() if value is not None},
    )
    wanted = {"junit": junit, "markdown": markdown}
    run = prove_now(modes, plan, quiet=quiet or as_json)
    page = html or RUNS / run.id / FORMATS["html"][1]
    page.write_text(render(run, "html"), encoding="utf-8")
    for form, file in wanted.items():
        if file is not None:
            file.write_text(render(run, form), encoding="utf-8")
    if as_json:
        click.echo(render(run, "json"))
    else:
        terminal.show(run, terminal.console(sys.stdout))
        click.echo(f"the whole story: {page}")
    return run.exit_code


def prove_now(modes: list[FailureMode], plan: Plan | None = None, *, quiet: bool = False) -> Run:
    """Carry it out with progress on standard error; signals undo everything on their way out."""
    console = terminal.console(sys.stderr)
    console.quiet = quiet
    with _undoing_on_signals(), progress.live(console, len(modes)) as show:
        return carry_out(modes, plan or Plan(RUNS), show)


@contextmanager
def _undoing_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind as Ctrl-C does, so that whatever was started is stopped."""

    def unwind(number: int, _: FrameType | None) -> None:
        raise Terminated(128 + number)

    before = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
