"""What the sweep decides without touching anything: order, budget, classes, outcomes, options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.faults.sweep.call_source import through_bootstrap
from premortem.faults.sweep.commands import rooted
from premortem.faults.sweep.engine import arguments
from premortem.faults.sweep.judging import difference, outcome_of
from premortem.faults.sweep.order import ordered, within
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.sense import check_effect
from premortem.faults.sweep.source import Ended, Sighting
from premortem.faults.sweep.wires import Wire
from premortem.model.codec import decode, encode
from premortem.model.recipe import Recipe, World
from premortem.model.sweep import Clean, Outcome, Point, Sweep, Trial

NAMES = ("BEGIN", "INSERT", "SELECT", "COMMIT")


def points(*names: str) -> list[Point]:
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(Point(Recipe("postgres", name, seen[name])))
    return made


def trial(recipe: str, outcome: Outcome = Outcome.VIOLATION, evidence: str = "", then: str = "") -> Trial:
    return Trial(recipe, outcome, "exit 0", evidence=evidence, then=then)


def sweep_of(*trials: Trial, ended: str = "complete", flaw: str = "") -> Sweep:
    told = ("--check", "./check", "--", "./job")
    head = Sweep("s", "2026-01-01T12:00:00+00:00", 7, 1, told, clean=Clean(0.1, 4), points=len(trials))
    return replace(head, trials=trials, flaw=flaw, elapsed_s=1.0, ended=ended)


def test_commits_and_their_neighbours_come_first_and_the_end_too() -> None:
    order = ordered(points("SELECT", "BEGIN", "INSERT", "COMMIT", *["SELECT"] * 4, "BEGIN"))
    told = [f"{one.recipe.what}#{one.recipe.nth}" for one in order]
    assert told[:6] == ["INSERT#1", "COMMIT#1", "SELECT#2", "SELECT#3", "SELECT#5", "BEGIN#2"]
    assert [one.near for one in order] == [True] * 6 + [False] * 3


@given(names=st.lists(st.sampled_from(NAMES), max_size=30), budget=st.integers(0, 40), seed=st.integers(0, 99))
def test_a_budget_keeps_the_order_and_begins_with_what_is_near(names: list[str], budget: int, seed: int) -> None:
    order = ordered(points(*names))
    chosen = within(order, budget, seed)
    assert sorted(map(str, order)) == sorted(map(str, ordered(points(*names))))
    assert len(chosen) == (min(budget, len(order)) if budget else len(order))
    assert chosen == [one for one in order if one in chosen]
    assert chosen == within(order, budget, seed)
    if any(not one.near for one in chosen):
        assert all(one in chosen for one in order if one.near)


def test_a_small_budget_gives_every_kind_its_turn() -> None:
    order = [replace(one, near=False) for one in points(*["SELECT"] * 20, *["INSERT"] * 2)]
    assert {one.recipe.what for one in within(order, 2, 1)} == {"SELECT", "INSERT"}


def test_equal_trials_are_one_class_whatever_their_number_and_values() -> None:
    found = sweep_of(
        trial("postgres:COMMIT#1:after", evidence="paid twice: ['a', 'a']"),
        trial("postgres:COMMIT#2:after", evidence="paid twice: ['b', 'b']"),
        trial("postgres:COMMIT#2+:after", evidence="paid twice: ['b', 'b', 'b']"),
        trial("postgres:COMMIT#3:after", evidence="lost 3 rows"),
        trial("postgres:COMMIT#1", Outcome.SURVIVED),
    )
    assert [(one.name, one.outcome, one.count) for one in found.classes] == [
        ("postgres:COMMIT:after", Outcome.VIOLATION, 3),
        ("postgres:COMMIT:after", Outcome.VIOLATION, 1),
        ("postgres:COMMIT", Outcome.SURVIVED, 1),
    ]
    assert found.classes[0].first.recipe == "postgres:COMMIT#1:after"


def test_the_gist_of_a_traceback_is_its_last_line() -> None:
    evidence = 'Traceback (most recent call last):\n  File "a.py", line 7\nValueError: torn at 12\n'
    assert trial("call:f#1", evidence=evidence).gist == "ValueError: torn at 12"


@pytest.mark.parametrize(
    ("trials", "flaw", "ended", "code"),
    [
        ((Outcome.SURVIVED, Outcome.ERROR), "", "complete", 0),
        ((Outcome.SURVIVED, Outcome.VIOLATION), "", "complete", 1),
        ((Outcome.CRASH,), "", "complete", 1),
        ((Outcome.HANG,), "", "complete", 1),
        ((Outcome.UNJUDGED, Outcome.SURVIVED), "", "complete", 3),
        ((Outcome.UNSTRUCK,), "", "complete", 3),
        ((Outcome.UNSTRUCK, Outcome.SURVIVED), "", "complete", 0),
        ((), "", "complete", 3),
        ((), "the clean run fails", "complete", 3),
        ((Outcome.SURVIVED,), "", "cut off by Terminated", 3),
        ((Outcome.VIOLATION,), "", "", 1),
    ],
)
def test_worst_wins_and_what_was_not_judged_is_no_pass(
    trials: tuple[Outcome, ...], flaw: str, ended: str, code: int
) -> None:
    found = sweep_of(*(trial(f"call:f#{n}", outcome) for n, outcome in enumerate(trials, 1)), ended=ended, flaw=flaw)
    assert found.exit_code == code
    assert bool(found.inconclusive) == (code == 3 or not ended)


def test_a_hang_may_be_allowed() -> None:
    assert replace(sweep_of(trial("call:f#1", Outcome.HANG)), allow_hang=True).exit_code == 0


def test_a_record_survives_json() -> None:
    found = sweep_of(trial("postgres:COMMIT#1:after", then="postgres:BEGIN#1"), trial("call:f#1", Outcome.UNSTRUCK))
    assert decode(Sweep, json.loads(json.dumps(encode(found)))) == found


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(0), Outcome.UNSTRUCK),
        (Ended(0, strikes=("x",)), Outcome.SURVIVED),
        (Ended(1, strikes=("x",)), Outcome.ERROR),
        (Ended(-9, strikes=("x",), killed=True), Outcome.SURVIVED),
        (Ended(-9, strikes=("x",), timed_out=True), Outcome.HANG),
        (Ended(-11, strikes=("x",)), Outcome.CRASH),
        (Ended(139, strikes=("x",)), Outcome.CRASH),
        (Ended(127, failed="no such program"), Outcome.UNJUDGED),
    ],
)
def test_what_the_end_of_a_command_comes_to(ended: Ended, outcome: Outcome) -> None:
    assert outcome_of(ended) is outcome


def test_two_clean_runs_are_compared_operation_by_operation() -> None:
    one, two = (tuple(Sighting(point.recipe) for point in points(*names)) for names in (NAMES, NAMES[:3]))
    assert difference(one, one) == ""
    assert "operation 4 was postgres:COMMIT#1 in one clean run and nothing more in the other" in difference(one, two)


@pytest.mark.parametrize(
    ("argv", "behind"),
    [
        (("python", "app.py", "-v"), ("app.py", "-v")),
        (("python3.11", "-u", "-W", "error", "-m", "app", "x"), ("-m", "app", "x")),
        (("/usr/bin/python3", "-c", "print()"), ("-c", "print()")),
    ],
)
def test_a_python_program_goes_through_the_bootstrap(argv: tuple[str, ...], behind: tuple[str, ...]) -> None:
    through = through_bootstrap(argv)
    assert through[-len(behind) :] == behind
    assert through[-len(behind) - 1].endswith("bootstrap.py")
    assert through[0] == argv[0]


@pytest.mark.parametrize("argv", [("python",), ("python", "-"), ("no-such-program", "x"), ("sh", "-c", "true")])
def test_what_is_no_python_program_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        through_bootstrap(argv)


def test_only_a_program_and_its_script_are_found_in_our_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("job.py", "state.json", "tool"):
        (tmp_path / name).write_text("")
    trial_folder = tmp_path / "trial"
    trial_folder.mkdir()
    here = str(tmp_path)
    assert rooted(("python", "-u", "job.py", "state.json"), trial_folder) == (
        "python",
        "-u",
        f"{here}/job.py",
        "state.json",
    )
    assert rooted(("./tool", "state.json"), trial_folder) == (f"{here}/tool", "state.json")
    (trial_folder / "job.py").write_text("")
    assert rooted(("python", "job.py"), trial_folder) == ("python", "job.py")


PLAN = Plan(("python", "job.py"), ("./check", "a b"), restart=True, watch=("file",), time_s=2.5, allow_hang=True)


def test_the_arguments_are_those_of_the_command_line() -> None:
    assert arguments(PLAN) == (
        "--check", "./check 'a b'", "--restart", "--watch", "file", "--time-limit", "2.5", "--allow-hang", "--",
        "python", "job.py",
    )  # fmt: skip
    line = replace(sweep_of(trial("syscall:write#1", then="syscall:open#1")), arguments=arguments(PLAN)).reproduction
    assert line(trial("syscall:fsync#2=EIO")).startswith("premortem sweep --at 'syscall:fsync#2=EIO' --check ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"command": ()}, "COMMAND: is missing"),
        ({"check": ()}, "--check: is missing"),
        ({"watch": ("disk",)}, "--watch disk"),
        ({"watch": ()}, "nothing is watched"),
        ({"jobs": 0}, "jobs 0"),
        ({"time_s": 1e9}, "time limit"),
        ({"time_s": float("nan")}, "time limit"),
        ({"budget": -1}, "budget -1"),
        ({"restart": False, "then": "syscall:write#1"}, "--then"),
        ({"restart": False, "compound": True}, "--compound"),
        ({"at": "postgres:COMMIT#1"}, "give --wire VARIABLE"),
        ({"at": "nonsense"}, "has to have the form"),
        ({"at": "syscall:fsnc#1=EIO"}, "did you mean fsync?"),
        ({"at": "syscall:fsync#1:after=EIO"}, "strikes before the call"),
        ({"at": "syscall:fsync#1", "then": "syscall:write#1=EOI", "restart": True}, "did you mean EIO?"),
        ({"effects": ("kill", "EOI")}, "--effects EOI: is known to nothing that is watched .*did you mean EIO?"),
        ({"effects": ("kill", "html")}, "--effects html"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        replace(PLAN, **change)  # type: ignore[arg-type] # each of them by name


@pytest.mark.parametrize(
    ("url", "address", "through"),
    [
        ("postgresql://me:pw@127.0.0.1:5433/shop?sslmode=disable", ("127.0.0.1", 5433),
         "postgresql://me:pw@127.0.0.1:9/shop?sslmode=disable"),
        ("postgres:///shop?host=127.0.0.1&port=5434", ("127.0.0.1", 5434), "postgres://127.0.0.1:9/shop"),
        ("redis://:pw@localhost/3", ("localhost", 6379), "redis://:pw@127.0.0.1:9/3"),
        ("http://localhost:8000/api?x=1", ("localhost", 8000), "http://127.0.0.1:9/api?x=1"),
    ],
)  # fmt: skip
def test_a_wire_is_the_same_url_through_the_proxy(url: str, address: tuple[str, int], through: str) -> None:
    wire = Wire.parse("URL", {"URL": url})
    assert wire.address == address
    assert wire.through(9) == through


@pytest.mark.parametrize(
    ("world", "effects"),
    [
        ("syscall", "kill,kill all,EIO,EDQUOT,ECONNRESET,short,drop,sever,delay 0.5"),
        ("call", "raise TimeoutError,raise psycopg.OperationalError,delay 1,return None"),
        ("postgres", "cut,close,delay 0.5,delay 0.1..0.3,error 40001,error 53300 too many"),
        ("redis", "cut,close,delay 1,error OOM no memory,nil"),
        ("http", "cut,close,delay 1,status 503,status 503 Retry-After: 2; body: x,html,header X-Shop: closed"),
        ("http", "truncate,truncate 10,content-type text/csv,encoding gzip,drip 10/0.5,rename order_id id"),
    ],
)
def test_every_effect_that_the_pages_name_is_known(world: World, effects: str) -> None:
    for effect in effects.split(","):
        check_effect(effect, ["syscall", world])  # one world is enough


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:99999/", "amqp://127.0.0.1", "postgresql:///shop?host=/run/postgresql"]
)
def test_a_wire_that_cannot_be_says_so(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        Wire.parse("URL", {"URL": url}).address  # noqa: B018 - the property raises
