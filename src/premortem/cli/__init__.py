"""The command line: parse, call, print, exit code; one command per file, imported when it is called."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the `premortem` command."""
    try:
        from premortem.cli.app import run  # noqa: PLC0415 - to say in words that the extra is missing
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("error: the command line needs click, which is not installed; pip install 'premortem[cli]'\n")
        sys.exit(2)
    sys.exit(run())
