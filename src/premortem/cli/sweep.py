"""`premortem sweep`: fail the 1st, 2nd, 3rd ... operation of a program until a run ends unstruck."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from premortem.errors import ConfigurationError
from premortem.faults.sweep.engine import sweep
from premortem.faults.sweep.plan import Plan
from premortem.model.sweep import Sweep
from premortem.report import sweep_html, sweep_json, sweep_junit, sweep_progress, sweep_text, terminal

SWEEPS = Path(".premortem/sweeps")


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came: everything is undone on the way out, and what was found is printed."""


@click.command("sweep", context_settings={"allow_interspersed_args": False})
@click.argument("words", metavar="-- COMMAND...", nargs=-1, type=click.UNPROCESSED)
@click.option("--check", default="", metavar="CMD", help="Judges each trial: exit 0, all is well. Required.")
@click.option("--setup", default="", metavar="CMD", help="Runs before each trial, without a fault.")
@click.option("--restart", is_flag=True, help="COMMAND runs again, without a fault, where it did not end well.")
@click.option("--recover", default="", metavar="CMD", help="Another command instead of --restart's.")
@click.option("--folder", default="", metavar="DIR", help="Each trial gets a copy of it. [default: an empty folder]")
@click.option(
    "--watch",
    default="",
    metavar="file,socket,read",
    help="Strike system calls: that change files, on sockets, that read files (Linux).",
)
@click.option(
    "--from-mark", is_flag=True, help="System calls count once the program calls premortem.faults.syscalls.arm()."
)
@click.option("--wire", multiple=True, metavar="VARIABLE", help="Strike what is said to the server whose URL it holds.")
@click.option("--call", multiple=True, metavar="NAME", help="Strike calls of package.module:function.")
@click.option("--effects", default="", metavar="LIST", help="Such as kill,EIO,ENOSPC,short,drop,sever; cut,delay 1,"
              "error 40001; raise TimeoutError,return None. [default: what suits each point]")  # fmt: skip
@click.option(
    "--time-limit", type=float, default=0.0, metavar="SECONDS", help="For each command. [default: 5, or 10 x clean]"
)
@click.option("--jobs", "-j", type=int, default=1, show_default=True, help="Trials at the same time.")
@click.option("--budget", type=int, default=0, metavar="N", help="At most so many points. [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws which points a budget allows.")
@click.option("--compound", is_flag=True, help="A second fault in the recovery, for one trial of each class.")
@click.option("--at", default="", metavar="RECIPE", help="This one point alone: 'postgres:COMMIT#1:after'.")
@click.option("--then", default="", metavar="RECIPE", help="With --at: a second fault, in the recovery.")
@click.option("--allow-hang", is_flag=True, help="A hang is no failure.")
@click.option("--json", "as_json", is_flag=True, help="The sweep as one JSON document on standard output.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Also write JUnit XML, for CI.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the HTML report there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress; the report alone.")
def command(  # noqa: PLR0913 - one parameter an option
    words: tuple[str, ...],
    *,
    check: str,
    setup: str,
    restart: bool,
    recover: str,
    folder: str,
    watch: str,
    from_mark: bool,
    wire: tuple[str, ...],
    call: tuple[str, ...],
    effects: str,
    time_limit: float,
    jobs: int,
    budget: int,
    seed: int,
    compound: bool,
    at: str,
    then: str,
    allow_hang: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
    quiet: bool,
) -> int:
    """Fail the 1st, 2nd, 3rd ... operation of COMMAND, each in a run of its own, and let CHECK judge every run.

    Every point is tried once, and once more from there on. COMMAND runs in a fresh folder each time; CHECK, which runs
    there afterwards, says by its exit code whether what must hold holds, and what it prints is the evidence.

    \b
    Examples:
      premortem sweep --check 'python check.py' --restart -- python writer.py
      premortem sweep --watch file --effects kill,ENOSPC --check 'python check.py' -- ./import.sh
      premortem sweep --wire DATABASE_URL --setup 'python reset.py' --check 'python audit.py' -- python pay.py
      premortem sweep --call shop.bank:pay --effects 'raise TimeoutError' --check ./check -- python app.py
      premortem sweep --at 'postgres:COMMIT#1:after' --wire DATABASE_URL --check ./check -- python pay.py

    Exit codes: 0 nothing wrong, 1 a violation, a crash or a hang, 2 usage or configuration, 3 inconclusive.
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    plan = Plan(
        command=words,
        check=_split("--check", check),
        setup=_split("--setup", setup),
        recover=_split("--recover", recover),
        restart=restart,
        folder=folder,
        watch=_list(watch) or (() if wire or call else ("file",)),
        from_mark=from_mark,
        wires=wire,
        calls=call,
        effects=_list(effects),
        time_s=time_limit,
        jobs=jobs,
        budget=budget,
        seed=seed,
        compound=compound,
        at=at,
        then=then,
        allow_hang=allow_hang,
    )
    for file in filter(None, (junit, html)):
        _check_writable(file)
    found = sweep_now(plan, quiet=quiet or as_json)
    page = html or SWEEPS / found.id / "report.html"
    page.write_text(sweep_html.render(found), encoding="utf-8")
    if junit is not None:
        junit.write_text(sweep_junit.render(found), encoding="utf-8")
    if as_json:
        click.echo(sweep_json.render(found))
    else:
        sweep_text.show(found, terminal.console(sys.stdout))
        click.echo(f"the whole story: {page}")
    return found.exit_code


def sweep_now(plan: Plan, *, quiet: bool = False) -> Sweep:
    """Carry it out with progress on standard error; a signal cuts it off, and what was found is kept."""
    console = terminal.console(sys.stderr)
    console.quiet = quiet
    with _unwinding_once(), sweep_progress.live(console) as audience:
        return sweep(plan, audience, records=SWEEPS)


@contextmanager
def _unwinding_once() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP ends the sweep; a second one must not interrupt the way out."""
    caught: list[int] = []

    def unwind(number: int, _: FrameType | None) -> None:
        caught.append(number)
        if len(caught) == 1:
            raise Terminated(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _split(option: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigurationError(f"{option} {text!r}: cannot be split into words ({error}); mind the quotes") from error


def _check_writable(file: Path) -> None:
    """Now, and not after all the trials. ConfigurationError where nothing can be written there."""
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ConfigurationError(f"{file}: cannot be written; name a file in a folder that is there and yours")


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))
