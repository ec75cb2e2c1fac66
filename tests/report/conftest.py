"""Runs to render: a realistic one with all six verdicts, and the shapes that reports trip over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from premortem.model import Failure, FailureMode, Moment, Observation, Prediction, Proof, Run, Verdict
from premortem.model.observation import Variant
from premortem.model.run import Fact

BROKEN = '''def broken(path, state):
    """Save the state of a job."""
    with open(path, "w") as file:
        json.dump(state, file)
    broken.calls += 1'''
FIXED = '''def fixed(path, state):
    """Save the state of a job."""
    draft = path.with_suffix(".draft")
    with open(draft, "w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    fixed.calls += 1'''
TRACEBACK = """Traceback (most recent call last):
  File "/home/me/.venv/lib/python3.13/site-packages/premortem/experiment/play.py", line 71, in _perform
    outcome = exhibit.scenario(subject, lab)
  File "exhibits/reliability/torn_checkpoint.py", line 48, in scenario
    return json.loads(path.read_text())
  File "/usr/lib/python3.13/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Unterminated string starting at: line 1 column 12 (char 11)
"""
DECODE = "json.decoder.JSONDecodeError"
MESSAGE = "Unterminated string starting at: line 1 column 12 (char 11)"
KINDS = (DECODE, "builtins.ValueError", "builtins.Exception", "builtins.BaseException")


def mode(slug: str = "torn-checkpoint", gallery: str = "reliability") -> FailureMode:
    return FailureMode(
        gallery=gallery,
        slug=slug,
        path=f"src/premortem/museum/exhibits/{gallery}/{slug.replace('-', '_')}.py",
        title="File checkpoint torn by a crash.",
        cause="save() truncates the only good copy, then writes; the process dies in between.",
        effect="the next start reads half a document, cannot resume, and crash-loops until somebody deletes the file.",
        fix="write a draft beside it, fsync the draft, rename it over the old file, fsync the folder.",
        prevention="premortem.durable.Checkpoint; sweep every writer; scan rule PM107.",
        needs=("postgres",),
        broken=BROKEN,
        fixed=FIXED,
    )


def timeline(*last: Moment) -> tuple[Moment, ...]:
    return (
        Moment(0.0012, "subject.called"),
        Moment(0.0480, "subject.returned"),
        Moment(0.0485, "check.held", "the state survives a restart seen=17 rows"),
        Moment(0.1210, "fault.struck", "write #2 of state.json fault=process.killed"),
        Moment(0.1302, "subject.called"),
        *last,
    )


def broken(failure: Failure | None = None) -> Observation:
    failure = failure or Failure("raised", DECODE, MESSAGE, KINDS, "torn_checkpoint.py:48 in scenario")
    last = Moment(0.1930, "subject.raised", f"{DECODE}: {MESSAGE}")
    return Observation("broken", timeline(last), failure, output=TRACEBACK, elapsed_s=0.3127)


def fixed(failure: Failure | None = None) -> Observation:
    last = (
        Moment(0.2010, "fault.lifted", "write #2 of state.json fault=process.killed"),
        Moment(0.2415, "subject.returned"),
        Moment(0.2423, "check.held", "the state survives a restart seen=18 rows"),
    )
    return Observation("fixed", timeline(*last), failure, elapsed_s=0.3594)


def proof(verdict: Verdict = Verdict.PROVEN, slug: str = "torn-checkpoint", gallery: str = "reliability") -> Proof:
    predicted = Prediction("raised", DECODE)
    shown, guard = broken(), fixed()
    reason = f"broken {shown.failure}; fixed survived"
    match verdict:
        case Verdict.SKIPPED:
            reason = "postgres is not available: the wheel does not run here; pip install 'premortem[lab]'"
            shown, guard = Observation("broken", missing=reason), Observation("fixed", missing=reason)
        case Verdict.INCONCLUSIVE:
            flaw = "raised when it was imported: ModuleNotFoundError: No module named 'polars' (torn.py:9)"
            reason, shown = f"broken: {flaw}", replace(shown, flaw=flaw, failure=None)
        case Verdict.NOT_REPRODUCED:
            reason = "the fault struck and broken survived: it is imaginary, or too weak"
            shown = replace(fixed(), variant="broken")
        case Verdict.MISPREDICTED:
            hung = Failure("hung", "", "did not come back within 2 s, standing at torn.py:31 in broken")
            shown = replace(shown, failure=hung, timeline=timeline(), elapsed_s=2.31)
            reason = f"predicted that broken {predicted}, and it {hung}"
        case Verdict.GUARD_FAILED:
            failure = Failure(
                "violated", "nothing is charged twice", "2 charges of order 4711", (), "t.py:61 in scenario"
            )
            last = Moment(0.2110, "check.broken", "nothing is charged twice seen=2 charges of order 4711")
            guard = replace(fixed(failure), output="charging 4711\ncharging 4711\n")
            guard = replace(guard, timeline=(*guard.timeline[:-1], last))
            reason = f"fixed {failure} (t.py:61 in scenario)"
        case _:
            pass
    command = f"premortem prove src/premortem/museum/exhibits/{gallery}/{slug}.py --seed 20260101"
    return Proof(mode(slug, gallery), verdict, reason, predicted, shown, guard, command)


def run_of(*proofs: Proof, ended: str = "complete") -> Run:
    facts = (
        Fact("python", "3.13.1"),
        Fact("platform", "Linux x86_64"),
        Fact("postgres", "18.6"),
        Fact("valkey", "9.1"),
    )
    return Run("20260101-120000-7f3a", "2026-01-01T12:00:00+00:00", 20260101, 2, facts, proofs, 12.348, ended)


@pytest.fixture
def run() -> Run:
    """All six verdicts, in two galleries."""
    return run_of(
        proof(Verdict.PROVEN, "torn-checkpoint"),
        proof(Verdict.PROVEN, "silent-truncation", "ingest"),
        proof(Verdict.SKIPPED, "lost-update", "databases"),
        proof(Verdict.SKIPPED, "dirty-read", "databases"),
        proof(Verdict.INCONCLUSIVE, "wrong-types", "ingest"),
        proof(Verdict.NOT_REPRODUCED, "clock-goes-back"),
        proof(Verdict.MISPREDICTED, "pool-exhausted", "databases"),
        proof(Verdict.GUARD_FAILED, "charged-twice"),
    )


@pytest.fixture
def all_proven() -> Run:
    return run_of(proof(slug="torn-checkpoint"), proof(slug="silent-truncation", gallery="ingest"))


@pytest.fixture
def empty() -> Run:
    return run_of()


@pytest.fixture
def interrupted() -> Run:
    return run_of(proof(), ended="interrupted by SIGINT after 1 of 40")


@pytest.fixture
def proofs() -> Callable[[Verdict], Proof]:
    return proof


@pytest.fixture
def hundred() -> Run:
    """A hundred exhibits as a museum has them, ten of them gone wrong, with as much output as a record keeps."""
    wrong = [Verdict.GUARD_FAILED, Verdict.MISPREDICTED, Verdict.INCONCLUSIVE, Verdict.NOT_REPRODUCED, Verdict.SKIPPED]
    proofs = []
    for number in range(100):
        verdict = wrong[number // 10 % 5] if number % 10 == 0 else Verdict.PROVEN
        made = proof(verdict, f"failure-number-{number}", f"gallery-{number % 9}")
        longer = "\n".join(f"    rows_{line} = [row for row in rows if row.total > {number}]" for line in range(8))
        story = replace(made.mode, fixed=f"{FIXED}\n{longer}", broken=f"{BROKEN}\n{longer[:200]}")
        sides = [replace(side, output=TRACEBACK * 2) for side in (made.broken, made.fixed)]
        proofs.append(replace(made, mode=story, broken=sides[0], fixed=sides[1]))
    return run_of(*proofs)


@pytest.fixture
def saying() -> Callable[[str], Run]:
    """A run with one text in every place where a record can hold foreign text."""

    def observation(variant: Variant, text: str) -> Observation:
        failure = Failure("raised", text, text, (text,), text)
        moments = tuple(Moment(number / 10, name, text) for number, name in enumerate(("fault.struck", text, text)))
        return Observation(variant, moments, failure, "", "", text, 0.5)

    def build(text: str) -> Run:
        said = FailureMode(text, text, text, text, text, text, text, text, (text,), f"broken {text}", f"fixed\n{text}")
        sides = observation("broken", text), observation("fixed", text)
        proofs = [Proof(said, verdict, text, Prediction("violated", text), *sides, text) for verdict in Verdict]
        flawed = replace(proofs[0], verdict=Verdict.INCONCLUSIVE, broken=Observation("broken", flaw=text))
        return Run(text, text, 7, 1, (Fact(text, text),), (*proofs, flawed), 1.5, text)

    return build
