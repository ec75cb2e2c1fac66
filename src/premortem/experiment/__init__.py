"""Lab, runner, proof: makes a failure happen on both variants and judges what was seen."""

from __future__ import annotations


def run_alone(path: str) -> None:
    """Prove the exhibit in `path` by itself and exit with its verdict: the last line of an exhibit's file."""
    import sys

    from premortem.experiment.alone import prove_file

    sys.exit(prove_file(path))
