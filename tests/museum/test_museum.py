"""The museum holds what it says: every failure in it is proven, short enough to read, and runs alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from premortem.experiment import discovery
from premortem.experiment.session import Plan, carry_out
from premortem.model import FailureMode, Proof, Run
from premortem.museum import EXHIBITS

MODES = discovery.find_in(EXHIBITS)
LONGEST_LINES = 75
GALLERIES = sorted({Path(mode.path).parent for mode in MODES})


class Nobody:
    def started(self, name: str) -> None: ...

    def proven(self, proof: Proof) -> None: ...


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return carry_out(MODES, Plan(tmp_path_factory.mktemp("records"), jobs=2, seed=1), Nobody())


def by_name(mode: FailureMode) -> str:
    return mode.name


@pytest.mark.parametrize("mode", MODES, ids=by_name)
def test_every_failure_is_proven(run: Run, mode: FailureMode) -> None:
    (proof,) = [proof for proof in run.proofs if proof.mode == mode]
    assert (proof.verdict.name, proof.broken.strikes != ()) == ("PROVEN", True), proof.reason
    assert proof.elapsed_s < 20


def test_the_museum_as_a_whole_exits_with_0(run: Run) -> None:
    assert len(run.proofs) == len(MODES) >= 10
    assert (run.ended, run.exit_code) == ("complete", 0)


@pytest.mark.parametrize("mode", MODES, ids=by_name)
def test_every_exhibit_is_short_and_whole(mode: FailureMode) -> None:
    source = Path(mode.path).read_text()
    assert mode.flaw == ""
    assert len(source.splitlines()) <= LONGEST_LINES
    assert source.endswith('if __name__ == "__main__":\n    run_alone(__file__)\n')
    assert mode.title.endswith(".")


def test_no_two_exhibits_share_a_slug() -> None:
    slugs = [mode.slug for mode in MODES]
    assert sorted(set(slugs)) == sorted(slugs)


@pytest.mark.parametrize("gallery", [EXHIBITS, *GALLERIES], ids=lambda path: path.name)
def test_every_gallery_says_in_one_sentence_what_it_shows(gallery: Path) -> None:
    caption = ast.get_docstring(ast.parse((gallery / "__init__.py").read_text())) or ""
    assert caption.endswith(".")
    assert "\n" not in caption


def test_an_exhibit_runs_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "premortem.museum.exhibits.ingest.missing_file"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("PROVEN ingest/missing-file: broken violated “yesterday's rows are still there”")
    assert (tmp_path / ".premortem" / "runs").is_dir()
