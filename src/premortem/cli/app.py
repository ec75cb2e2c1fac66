"""The command `premortem` itself: which commands there are, and the one place where errors become exit codes.

The commands stand here as data, so that `premortem --help` imports none of them.
"""

from __future__ import annotations

import os
import signal
import sys

import click

from premortem import __version__
from premortem.cli.lazy import LazyGroup
from premortem.errors import ConfigurationError, MissingRequirementError, PremortemError

COMMANDS = {
    "prove": ("prove", "Make failures happen, and prove that their guards hold."),
    "sweep": ("sweep", "Fail the 1st, 2nd, 3rd ... operation of any program, and let a check judge each run."),
    "proxy": ("proxy", "Put a fault proxy in front of a server: slow, cut, silent, or wrong at a chosen message."),
    "list": ("list_exhibits", "List the failures that can be proven, by gallery."),
    "explain": ("explain", "Tell one failure: cause, effect, fix, prevention, and what came out."),
    "show": ("show", "Show what differs between the broken and the fixed variant."),
    "new": ("new", "Start an exhibit of your own: a skeleton that fails until it is filled in."),
    "report": ("report", "Render the record of a run: text, JSON, JUnit, Markdown, HTML."),
    "doctor": ("doctor", "Say what this machine can do, and why not where it cannot."),
    "heal": ("heal", "Take out what faults of a run that died have left behind."),
    "retail": ("retail", "The retail reference system: ingest of invoices into PostgreSQL."),
    "db": ("db", "A PostgreSQL server whose data stays, in .premortem/."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all proven, 1 a proof failed, 2 usage or configuration, 3 inconclusive or skipped only.",
)
@click.version_option(__version__, prog_name="premortem")
def premortem() -> None:
    """Find out how your Python system will fail, before its users do.

    \b
    Examples:
      premortem prove                      every failure in the museum
      premortem prove ingest/missing-file  one of them
      premortem prove tests/failures/      those of your own project
      premortem explain negative-prices    the story of one
      premortem sweep --check 'python check.py' -- python job.py
                                           a program of yours, failed at each of its operations
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; the exit code. Every error of ours is one message on standard error."""
    try:
        code = premortem.main(args=arguments, prog_name="premortem", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):  # the first is click's word for the second
        click.echo("interrupted; servers, processes and scratch folders are gone", err=True)
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (PremortemError, ModuleNotFoundError) as error:
        return _failed(error)
    return code if isinstance(code, int) else 0


def _failed(error: PremortemError | ModuleNotFoundError) -> int:
    """Say it; 2 where the user or the machine has to change, 1 where what was tried failed."""
    if isinstance(error, ModuleNotFoundError):
        error = _missing_extra(error)
    click.secho("error: ", fg="red", bold=True, nl=False, err=True)
    click.echo(str(error), err=True)
    return 2 if isinstance(error, ConfigurationError | MissingRequirementError) else 1


_EXTRAS = {"rich": "cli"} | dict.fromkeys(
    ("psycopg", "polars", "fastexcel", "pydantic_settings", "jinja2", "xlsxwriter"), "lab"
)


def _missing_extra(error: ModuleNotFoundError) -> MissingRequirementError:
    """The extra that brings a module of ours that is not installed; any other module is a defect, raised as it is."""
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        raise error
    return MissingRequirementError(error.name or "", "it is not installed", f"pip install 'premortem[{extra}]'")
