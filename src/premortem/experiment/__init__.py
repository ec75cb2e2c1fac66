"""Lab, runner, proof: makes a failure happen on both variants and judges what was seen."""

from __future__ import annotations

import sys


def run_alone(path: str) -> None:
    """Prove the exhibit in `path` by itself and exit with its verdict: the last line of an exhibit's file."""
    from premortem.experiment.alone import prove_file  # noqa: PLC0415 - an exhibit costs nothing to import

    sys.exit(prove_file(path))
