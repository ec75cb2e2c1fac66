"""Whole sweeps of real programs: the planted defect is found, and nothing is found in the mended one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.faults import syscalls
from premortem.faults.sweep.engine import sweep
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.record import FILE, read
from premortem.model.sweep import Outcome, Sweep

PYTHON = sys.executable
Script = Callable[[str, str], str]
LINUX = pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")

TORN = """
import json, pathlib
path = pathlib.Path("state.json")
n = json.loads(path.read_text())["n"] if path.exists() else 0
for step in range(n + 1, 3):
    with path.open("w") as file:
        json.dump({"n": step}, file)
"""
MENDED = """
import json, os, pathlib
path = pathlib.Path("state.json")
n = json.loads(path.read_text())["n"] if path.exists() else 0
for step in range(n + 1, 3):
    with open("draft", "w") as file:
        json.dump({"n": step}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace("draft", path)
"""
FICKLE = """
import os, pathlib
ran = pathlib.Path(os.environ["RUNS"])
count = len(ran.read_text()) if ran.exists() else 0
ran.write_text("." * (count + 1))
for step in range(3 - count % 2):
    pathlib.Path(f"file-{step}").write_text("whole")
"""
WHOLE = """
import json, pathlib, sys
path = pathlib.Path("state.json")
try:
    path.exists() and json.loads(path.read_text())
except ValueError:
    sys.exit(f"state.json is torn: {path.read_bytes()!r}")
"""
SHOP = """
import pathlib, sys
import shop_bank
done = pathlib.Path("done")
for attempt in range(3):
    try:
        shop_bank.charge(4711)
        break
    except ConnectionError:
        pass
"""
ONCE = """
import pathlib, sys
ledger = pathlib.Path("ledger")
lines = ledger.read_text().split() if ledger.exists() else []
sys.exit(f"charged {len(lines)} times" if len(lines) > 1 else 0)
"""


def found(sweep: Sweep) -> dict[str, Outcome]:
    """Every recipe and what it came to."""
    return {trial.recipes: trial.outcome for trial in sweep.trials}


@LINUX
def test_the_torn_writer_is_found_and_the_mended_one_is_clean(script: Script, tmp_path: Path) -> None:
    check = (PYTHON, script("check.py", WHOLE))
    torn = sweep(Plan((PYTHON, script("torn.py", TORN)), check, watch=("file",), effects=("kill",)), records=tmp_path)
    assert found(torn) == {
        "syscall:open#1=kill": Outcome.SURVIVED,
        "syscall:write#1=kill": Outcome.VIOLATION,
        "syscall:open#2=kill": Outcome.SURVIVED,
        "syscall:write#2=kill": Outcome.VIOLATION,
    }
    assert torn.exit_code == 1
    assert torn.clean is not None
    assert torn.clean.differs == ""
    (one,) = [one for one in torn.classes if one.outcome is Outcome.VIOLATION]
    assert (one.count, one.details) == (2, ("state.json, 8 bytes",))
    assert "state.json is torn: b''" in one.first.evidence
    assert read(tmp_path / torn.id / FILE) == torn
    mended = sweep(Plan((PYTHON, script("mended.py", MENDED)), check, watch=("file",), effects=("kill",), restart=True))
    assert set(found(mended).values()) == {Outcome.SURVIVED}
    assert mended.exit_code == 0
    assert {"syscall:fsync#1=kill", "syscall:rename#2=kill"} <= set(found(mended))


@LINUX
def test_what_does_not_come_back_is_a_violation_and_at_reruns_one_point(script: Script) -> None:
    program, check = script("torn.py", TORN), (PYTHON, "-c", "")
    plan = Plan((PYTHON, program), check, watch=("file",), restart=True, at="syscall:write#2=kill")
    (trial,) = sweep(plan).trials
    assert trial.outcome is Outcome.VIOLATION
    assert trial.gist.startswith("does not recover: ended with exit 1")
    assert trial.strikes == ("write#2 state.json 8 bytes",)


@LINUX
def test_a_program_whose_clean_runs_differ_is_swept_all_the_same(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    plan = Plan((PYTHON, script("fickle.py", FICKLE)), (PYTHON, "-c", ""), watch=("file",), effects=("kill",))
    fickle = sweep(plan)
    assert fickle.clean is not None
    assert "in one clean run and nothing more in the other" in fickle.clean.differs
    assert len(fickle.trials) == fickle.clean.operations


@LINUX
def test_a_second_fault_strikes_the_recovery(script: Script) -> None:
    program, check = script("mended.py", MENDED), (PYTHON, script("check.py", WHOLE))
    plan = Plan((PYTHON, program), check, watch=("file",), effects=("kill",), restart=True, compound=True, jobs=2)
    twice = sweep(plan)
    pairs = [trial for trial in twice.trials if trial.then]
    assert pairs
    assert {trial.outcome for trial in twice.trials} == {Outcome.SURVIVED}
    assert all(len(trial.strikes) == 2 for trial in pairs)
    assert "then" in twice.reproduction(pairs[0])


@pytest.mark.usefixtures("bank")
def test_calls_of_a_python_program(script: Script, heard: list[Event], tmp_path: Path) -> None:
    program, check = script("shop.py", SHOP), (PYTHON, script("check.py", ONCE))
    plan = Plan((PYTHON, program), check, calls=("shop_bank:charge",), folder=str(tmp_path))
    assert found(sweep(plan)) == {
        "call:shop_bank:charge#1=raise ConnectionError": Outcome.SURVIVED,
        "call:shop_bank:charge#1+=raise ConnectionError": Outcome.SURVIVED,
        "call:shop_bank:charge#1:after=raise ConnectionError": Outcome.VIOLATION,
        "call:shop_bank:charge#1+:after=raise ConnectionError": Outcome.VIOLATION,
    }
    assert "call:shop_bank:charge#1:after=raise ConnectionError" in [event.get("what") for event in heard]


@pytest.mark.usefixtures("bank")
def test_error_hang_and_crash_are_told_apart(script: Script) -> None:
    program = script(
        "app.py",
        "import os, signal, shop_bank\nanswer = shop_bank.charge(1)\n"
        "if answer is None: os.kill(os.getpid(), signal.SIGSEGV)\n",
    )
    effects = ("raise KeyError", "delay 60", "return None")
    plan = Plan((PYTHON, program), (PYTHON, "-c", ""), calls=("shop_bank:charge",), effects=effects, time_s=10)
    swept = sweep(plan)
    assert found(swept) | {"call:shop_bank:charge#1=return None": Outcome.CRASH} == found(swept)
    assert found(swept)["call:shop_bank:charge#1=raise KeyError"] is Outcome.ERROR
    assert found(swept)["call:shop_bank:charge#1=delay 60"] is Outcome.HANG


@pytest.mark.usefixtures("bank")
@pytest.mark.parametrize(
    ("command", "check", "said"),
    [
        (
            "import shop_bank; shop_bank.charge(1)",
            "raise SystemExit('no good')",
            "the check ended with exit 1: no good",
        ),
        ("import time; time.sleep(1e6)", "", "without a fault, the command did not end within"),
        ("import no_such_module", "", "ModuleNotFoundError: No module named"),
        ("import os; os.abort()", "", "without a fault, the command died of signal 6"),
    ],
)
def test_a_clean_run_that_is_not_well_says_why_and_nothing_is_tried(
    command: str, check: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in command:
        monkeypatch.setattr("premortem.faults.sweep.engine.CLEAN_TIME_S", 0.5)
    plan = Plan((PYTHON, "-c", command), (PYTHON, "-c", check), calls=("shop_bank:charge",), folder=".")
    swept = sweep(plan)
    assert said in swept.inconclusive
    assert (swept.trials, swept.exit_code) == ((), 3)


@pytest.mark.usefixtures("bank")
@pytest.mark.parametrize("fails", ["os.abort()", "time.sleep(1e6)"])
def test_a_judge_that_fails_is_never_a_pass(fails: str) -> None:
    check = f"import os, time; os.environ['PREMORTEM_SWEEP_POINT'] and {fails}"
    command = (PYTHON, "-c", "import shop_bank\ntry: shop_bank.charge(1)\nexcept ConnectionError: pass")
    plan = Plan(command, (PYTHON, "-c", check), calls=("shop_bank:charge",), time_s=5, budget=1, folder=".")
    swept = sweep(plan)
    assert [trial.outcome for trial in swept.trials] == [Outcome.UNJUDGED]
    assert swept.exit_code == 3
    assert swept.left_out == 3


def test_what_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    command, check = (PYTHON, "-c", ""), (PYTHON, "-c", "")
    with pytest.raises(ConfigurationError, match="is no folder"):
        sweep(Plan(command, check, calls=("os:nothing",), folder=str(tmp_path / "none")))
    with pytest.raises(ConfigurationError, match="calls are swept in Python alone"):
        sweep(Plan(("true",), check, calls=("os:getcwd",)))


@pytest.mark.usefixtures("bank")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_cut_off_it_leaves_no_process_and_no_folder(number: int, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    mark = f"premortem-test-{os.getpid()}-{number}"
    code = (
        "from premortem.cli.sweep import sweep_now\nfrom premortem.faults.sweep.plan import Plan\n"
        f"command = ({PYTHON!r}, '-c', 'import shop_bank; shop_bank.charge(1)', {mark!r})\n"
        f"found = sweep_now(Plan(command, ({PYTHON!r}, '-c', ''), calls=('shop_bank:charge',), "
        "effects=('delay 600',), time_s=600))\n"
        "print(found.ended, found.exit_code)"
    )
    process = subprocess.Popen(
        [PYTHON, "-c", code], cwd=tmp_path, env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    while "trials" not in (line := process.stderr.readline()):
        assert line
    eventually(lambda: running(mark))
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    if number == signal.SIGTERM:
        assert said.strip() == "cut off by SIGTERM 3"
    eventually(lambda: not running(mark))
    eventually(lambda: list(scratch.iterdir()) == [])


def running(mark: str) -> list[str]:
    """The processes that have it in their command line, but for the sweep's own."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if mark in words:
            found.append(process.parent.name)
    return found


def eventually(reached: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
