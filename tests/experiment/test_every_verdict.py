"""Every verdict by sabotage: exhibits that are whole, then spoiled in one place each, on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from premortem.errors import ConfigurationError
from premortem.experiment.session import Plan
from premortem.model import Proof, Run, Verdict
from premortem.model.journal import read
from premortem.museum import EXHIBITS
from premortem.servers import binaries

if TYPE_CHECKING:
    from tests.experiment.conftest import Place as Exhibition

NEGATIVE_PRICES = (EXHIBITS / "ingest" / "negative_prices.py").read_text()
P, S, I, N, M, G = Verdict  # noqa: E741 - the six, in their order, so that the table can be read

NO_FAULT = """
    def scenario(read, lab):
        path = lab.folder / "input"
        path.write_text("x")
        lab.check("what is there is read", read(path) == "x")
"""
FAILED = NO_FAULT + "        path.unlink()\n        read(path)\n"
NOT_HEALTHY = """
    def scenario(read, lab):
        path = lab.folder / "input"
        path.write_text("x")
        with lab.files.removed(path):
            lab.check("what is not there is empty", read(path) == "")
"""
JUDGE_CRASHES = """
    def scenario(read, lab):
        path = lab.folder / "input"
        path.write_text("x")
        read(path)
        with lab.files.removed(path):
            lab.check(invariant, True)
"""
HANGS = """
    def broken(path):
        if path.exists(): return path.read_text()
        while True: pass
"""
WAITS_FOR_THE_JUDGE = JUDGE_CRASHES.replace("lab.check(invariant, True)", "__import__('time').sleep(60)")
WRONG_STRIKE = JUDGE_CRASHES.replace("removed(path)", "removed(lab.folder)")
HIDDEN = """
    class Hidden(Exception):
        def __init__(self, one, two): ...
        def __str__(self): raise RuntimeError("no text")
    PREDICTION = Hidden
    def broken(path):
        if not path.exists(): raise Hidden(1, 2)
        return path.read_text()
"""
STRANGE = """
    def broken(path):
        if not path.exists(): raise FileNotFoundError("caf\\udce9 \\ud800")
        return path.read_text()
"""

# What is changed in which exhibit; the verdict; how the reason begins.
SABOTAGE: dict[str, tuple[str, dict[str, str], Verdict, str]] = {
    "plain_original": ("plain", {}, P, "broken raised FileNotFoundError: "),
    "plain_broken_is_fixed": ("plain", {"broken": "broken = fixed"}, N, "the fault struck and broken survived"),
    "plain_wrong_prediction": (
        "plain", {"PREDICTION": "PREDICTION = KeyError"}, M, "predicted that broken raises KeyError, and it rai",
    ),
    "plain_base_class": ("plain", {"PREDICTION": "PREDICTION = OSError"}, P, "broken raised FileNotFoundError"),
    "plain_fixed_is_broken": ("plain", {"fixed": "fixed = broken"}, G, "fixed raised FileNotFoundError"),
    "plain_both": (
        "plain", {"fixed": "fixed = broken", "PREDICTION": "PREDICTION = KeyError"}, G, "fixed raised FileNotFound",
    ),
    "plain_no_fault": ("plain", {"scenario": NO_FAULT}, I, "broken: no fault struck"),
    "plain_failed_without_one": (
        "plain", {"scenario": FAILED}, I, "broken: the subject was not seen healthy before the fault; it raised",
    ),
    "plain_not_healthy": ("plain", {"scenario": NOT_HEALTHY}, I, "broken: the subject was not seen healthy before the"),
    "plain_judge_crashes": ("plain", {"scenario": JUDGE_CRASHES}, I, "broken: the judge raised NameError"),
    "plain_judge_hangs": ("plain", {"scenario": WAITS_FOR_THE_JUDGE}, I, "broken: the judge did not come back"),
    "plain_fault_refused": ("plain", {"scenario": WRONG_STRIKE}, I, "broken: the judge raised premortem.errors.Fault"),
    "plain_hangs": ("plain", {"broken": HANGS}, M, "predicted that broken raises FileNotFoundError, and it did"),
    "plain_hangs_as_predicted": (
        "plain",
        {"broken": HANGS, "PREDICTION": "from premortem.errors import Hung\nPREDICTION = Hung(after_s=0.5)"},
        P,
        "broken did not come back within 0.5 s, standing at plain_hangs_as_predicted.py:",
    ),
    "plain_no_text": ("plain", {"broken": HIDDEN}, P, "broken raised Hidden: (no text"),
    "plain_no_encoding": ("plain", {"broken": STRANGE}, P, "broken raised FileNotFoundError: caf"),
    "prices_original": ("prices", {}, P, "broken violated “revenue is what was sold”: -11019.64 for 42.42 sold"),
    "prices_broken_is_fixed": ("prices", {"broken": "broken = fixed"}, N, "the fault struck and broken survived"),
    "prices_wrong_prediction": (
        "prices", {"PREDICTION": "PREDICTION = Violated('another')"}, M, "predicted that broken violates “another”",
    ),
    "prices_fixed_is_broken": ("prices", {"fixed": "fixed = broken"}, G, "fixed violated “revenue is what was sold”"),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(exhibition: Exhibition) -> Run:
    """All of them in one run, on one server."""
    sources = {"plain": exhibition.plain, "prices": NEGATIVE_PRICES}
    for name, (source, changes, _, _) in SABOTAGE.items():
        exhibition.write(**{name: exhibition.sabotaged(sources[source], **changes)})
    return exhibition.carry_out(time_s=3.0)


def proof_of(run: Run, name: str) -> Proof:
    (proof,) = [proof for proof in run.proofs if Path(proof.mode.path).stem == name]
    return proof


@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_has_its_verdict_and_its_reason(run: Run, name: str) -> None:
    _, _, verdict, reason = SABOTAGE[name]
    proof = proof_of(run, name)
    assert (proof.verdict, proof.reason[: len(reason)]) == (verdict, reason)


def test_of_a_run_the_worst_counts_and_all_is_recorded(run: Run, exhibition: Exhibition) -> None:
    assert run.ended == "complete"
    assert len(run.proofs) == len(SABOTAGE)
    assert (run.verdict, run.exit_code) == (Verdict.GUARD_FAILED, 1)
    assert read(exhibition.folder / "records" / run.id / "journal.jsonl") == run
    assert exhibition.left() == []


def test_both_variants_draw_the_same_numbers_and_a_seed_replays_them(place: Exhibition) -> None:
    scenario = """
        def scenario(read, lab):
            import random
            path = lab.folder / "input"
            path.write_text("x")
            read(path)
            with lab.files.overwritten(path, b"y", f"{lab.random.random()} {random.random()}"):
                lab.check("x", read(path) == "z")
    """
    place.write(
        one=place.sabotaged(place.plain, scenario=scenario), two=place.sabotaged(place.plain, scenario=scenario)
    )
    runs = [place.carry_out(seed=seed) for seed in (7, 7, 8)]
    drawn = [
        [
            tuple(side.strikes[0].detail for side in (proof.broken, proof.fixed))
            for proof in sorted(run.proofs, key=by_name)
        ]
        for run in runs
    ]
    assert all(broken == fixed for pairs in drawn for broken, fixed in pairs)
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


def by_name(proof: Proof) -> str:
    return proof.mode.name


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, place: Exhibition) -> Exhibition:
    """A machine without a PostgreSQL."""
    monkeypatch.setattr(binaries, "POSTGRES_WHEELS", ("no_such_wheel",))
    monkeypatch.setattr(binaries, "INSTALLED", place.folder / "nowhere")
    monkeypatch.setenv("PATH", str(place.folder))
    monkeypatch.delenv(binaries.POSTGRES_VARIABLE, raising=False)
    monkeypatch.delenv("PREMORTEM_POSTGRES_URL", raising=False)
    return place


def test_without_the_server_it_is_skipped_with_the_reason(bare: Exhibition) -> None:
    bare.write(prices=NEGATIVE_PRICES)
    run = bare.carry_out()
    (proof,) = run.proofs
    assert proof.verdict is Verdict.SKIPPED
    assert proof.reason.startswith("postgres is not available: looked at the wheel no_such_wheel")
    assert (run.ended, run.exit_code) == ("complete", 3)
    assert bare.left() == []


def test_what_needs_no_server_is_still_proven_without_one(bare: Exhibition) -> None:
    bare.write(prices=NEGATIVE_PRICES, plain=bare.plain)
    run = bare.carry_out()
    assert {proof.mode.slug: proof.verdict.name for proof in run.proofs} == {"prices": "SKIPPED", "plain": "PROVEN"}
    assert run.exit_code == 3


def test_a_server_named_wrongly_is_the_users_to_correct(place: Exhibition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.POSTGRES_VARIABLE, "/nowhere")
    monkeypatch.delenv("PREMORTEM_POSTGRES_URL", raising=False)
    place.write(prices=NEGATIVE_PRICES)
    with pytest.raises(ConfigurationError, match="PREMORTEM_POSTGRES_BIN=/nowhere"):
        place.carry_out()
    (record,) = place.folder.glob("records/*/journal.jsonl")
    cut_off = read(record)
    assert cut_off.ended.startswith("cut off by ConfigurationError")
    assert cut_off.exit_code == 3
    assert place.left() == []


def test_a_run_of_nothing_is_no_success(place: Exhibition) -> None:
    place.write(flawed="def broken(): ...")
    run = place.carry_out()
    assert (run.exit_code, run.proofs[0].verdict) == (3, Verdict.INCONCLUSIVE)
    assert "lacks PREDICTION" in run.proofs[0].reason


def test_two_exhibits_of_one_name_keep_their_evidence_apart(place: Exhibition) -> None:
    for folder, source in (("a", place.plain), ("b", place.sabotaged(place.plain, fixed="fixed = broken"))):
        (place.gallery / folder / "same").mkdir(parents=True)
        (place.gallery / folder / "same" / "one.py").write_text(source)
    run = place.carry_out()
    verdicts = {Path(proof.mode.path).parts[-3]: proof.verdict.name for proof in run.proofs}
    assert verdicts == {"a": "PROVEN", "b": "GUARD_FAILED"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs": 0},
        {"jobs": 513},
        {"seed": -1},
        {"seed": 2**63},
        {"time_s": 0.0},
        {"time_s": 1e9},
        {"time_s": float("nan")},
    ],
)
def test_a_plan_out_of_bounds_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="has to be from"):
        Plan(Path("records"), **wrong)  # type: ignore[arg-type] # the wrong value is the point
