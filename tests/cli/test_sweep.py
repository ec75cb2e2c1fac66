"""`premortem sweep`: what it says, what it writes, what it tells the shell."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from premortem.cli.app import run
from premortem.cli.sweep import SWEEPS
from premortem.faults.sweep.record import FILE, read

PYTHON = shlex.quote(sys.executable)
BANK = """
from pathlib import Path

def charge():
    with Path("ledger").open("a") as file:
        file.write("charged ")
"""
SHOP = """
import bank
for attempt in range(3):
    try:
        bank.charge()
        break
    except ConnectionError:
        pass
"""
CHECK = """
import sys
from pathlib import Path
charged = len(Path("ledger").read_text().split()) if Path("ledger").exists() else 0
sys.exit(f"charged {charged} times" if charged > 1 else 0)
"""
BASE = ["sweep", "--folder", ".", "--check", f"{PYTHON} check.py", "--call", "bank:charge"]
COMMAND = ["--", sys.executable, "shop.py"]


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("bank.py", BANK), ("shop.py", SHOP), ("check.py", CHECK)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_it_finds_the_double_charge_and_prints_how_to_see_it_again(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*BASE, "--junit", "sweep.xml", "--html", "sweep.html", "-j", "2", *COMMAND]) == 1
    said = capsys.readouterr()
    assert "✗ VIOLATION" in said.out
    assert "charged 2 times" in said.out
    assert "2 violations under 4 faults" in said.out
    assert "premortem sweep --at 'call:bank:charge#1:after=raise ConnectionError'" in " ".join(said.out.split())
    assert "clean run: 1 operations" in said.err
    (case,) = ET.parse(shop / "sweep.xml").findall("testsuite/testcase/failure")
    assert "charged 2 times" in case.attrib["message"]
    assert "charged 2 times" in (shop / "sweep.html").read_text()
    (record,) = SWEEPS.glob(f"*/{FILE}")
    assert read(record).exit_code == 1


def test_the_printed_command_reruns_that_one_point(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--json", *COMMAND]) == 1
    document = json.loads(capsys.readouterr().out)
    worst = document["classes"][0]
    assert (worst["outcome"], worst["count"]) == ("VIOLATION", 2)
    again = shlex.split(worst["reproduce"])
    assert run([*again[1:2], "--json", *again[2:]]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [trial["recipe"] for trial in document["sweep"]["trials"]] == [worst["first"]]


def test_nothing_wrong_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--at", "call:bank:charge#1", *COMMAND]) == 0
    assert "nothing wrong under 1 fault" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at", "call:bank:charge#9", *COMMAND], "no fault struck"),
        (["--", sys.executable, "check.py"], "there was nothing to strike"),
        (["--", sys.executable, "none.py"], "without a fault, the command ended with exit"),
        (["--setup", f"{PYTHON} -c 'raise SystemExit(7)'", *COMMAND], "the setup ended with exit 7"),
    ],
)
def test_what_proves_nothing_is_three(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, *arguments]) == 3
    out = capsys.readouterr().out
    assert said in out
    assert "exit code 3: inconclusive" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep"], "COMMAND: is missing"),
        (["sweep", "--", "true"], "--check: is missing"),
        (["sweep", "--check", "'", "--", "true"], "mind the quotes"),
        ([*BASE, "--at", "COMMIT", *COMMAND], "has to have the form"),
        ([*BASE, "--at", "postgres:COMMIT#1", *COMMAND], "give --wire VARIABLE"),
        ([*BASE, "--wire", "NO_SUCH_VARIABLE", *COMMAND], "the variable is not set"),
        ([*BASE, "--folder", "nowhere", *COMMAND], "is no folder"),
        ([*BASE, "--effects", "raise Nothing", *COMMAND], "is no exception"),
        ([*BASE, "--effects", "dance", *COMMAND], "is known to nothing that is watched"),
        ([*BASE, "--effects", "raise OSError,dance", *COMMAND], "--effects dance: is known to nothing"),
        ([*BASE, "--at", "call:bank:pay#1=dance", *COMMAND], "has to raise, delay or return"),
        ([*BASE, "--junit", "nowhere/sweep.xml", *COMMAND], "nowhere/sweep.xml: cannot be written"),
        ([*BASE, "--html", ".", *COMMAND], ".: cannot be written"),
    ],
)
def test_usage_is_two(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["os", "os:nothing", "nowhere:pay"])
def test_a_callable_that_is_not_there_is_said_without_a_traceback(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sweep", "--check", "true", "--call", name, *COMMAND]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert f"premortem: {name!r}: " in out
    assert "Traceback" not in out


def test_a_budget_says_what_it_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    run([*BASE, "--budget", "1", "--seed", "3", *COMMAND])
    assert "the budget left out 3 of 4 points" in capsys.readouterr().out
