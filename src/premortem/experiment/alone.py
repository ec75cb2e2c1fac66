"""One exhibit by itself: `python -m premortem.museum.exhibits.ingest.missing_file`, or `python my_exhibit.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from premortem.errors import PremortemError
from premortem.experiment import discovery
from premortem.experiment.session import Plan, carry_out
from premortem.model import Proof

_USAGE = 2


def prove_file(path: str) -> int:
    """Prove the exhibit in `path`, say what came of it, and give the exit code of `premortem prove`."""
    try:
        run = carry_out(discovery.find_at(Path(path)), Plan(Path(".premortem/runs"), jobs=2), _Voice())
    except PremortemError as error:
        sys.stderr.write(f"error: {error}\n")
        return _USAGE
    sys.stdout.write(f"seed {run.seed}; the record: .premortem/runs/{run.id}\n")
    return run.exit_code


class _Voice:
    def started(self, name: str) -> None:
        """Nothing: it takes a second or two."""

    def proven(self, proof: Proof) -> None:
        """The verdict and both sides, in plain words."""
        sys.stdout.write(f"{proof.verdict} {proof.mode.name}: {proof.reason}\n")
