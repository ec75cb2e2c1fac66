"""For each effect on the wire a payment with a defect that this effect alone reveals, and the one that stands them all.

As `test_sweep_planted` for system calls: an effect that changes nothing would look like a program that stands it.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from premortem.faults.sweep.engine import sweep
from premortem.faults.sweep.here import Struck, sweep_wire
from premortem.faults.sweep.plan import Plan
from premortem.model.sweep import Outcome
from premortem.servers import Servers
from premortem.servers.account import make_temporary_folder, unprivileged

# psycopg leaves a connection to the collector where its own start-up is cut off
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

ERRORS = ("error 40001", "error 40P01", "error 53300", "error 57P01")
EFFECTS = ("", *ERRORS)
TABLE = "DROP TABLE IF EXISTS payments; CREATE TABLE payments (number int, amount int)"
Pay = Callable[[str], bool]


# A payment returns whether it was made; where it was, it was made once, and else once at most.


def pay(url: str, lost: Callable[[psycopg.OperationalError], bool] = lambda _: False) -> bool:
    """`lost` says of an error that the payment is made all the same; else it is raised."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            connection.execute("INSERT INTO payments VALUES (1, 10)")
    except psycopg.OperationalError as error:
        if not lost(error):
            raise
    return True


def is_there(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=5) as connection:
        return connection.execute("SELECT count(*) FROM payments WHERE number = 1").fetchone() == (1,)


def looks_before_it_pays_again(url: str) -> bool:
    for _ in range(3):
        try:
            return is_there(url) or pay(url)
        except psycopg.OperationalError:
            pass
    return False


def takes_a_lost_answer_for_a_yes(url: str) -> bool:
    return pay(url, lambda error: error.sqlstate is None)


def takes_a_lost_answer_for_a_no(url: str) -> bool:
    try:
        return pay(url)
    except psycopg.OperationalError as error:
        return error.sqlstate is None and pay(url)


def leaves_a_conflict_to_the_other(url: str) -> bool:
    return pay(url, lambda error: error.sqlstate == "40001")


def leaves_a_deadlock_to_the_other(url: str) -> bool:
    return pay(url, lambda error: error.sqlstate == "40P01")


def takes_a_full_house_for_a_queue(url: str) -> bool:
    return pay(url, lambda error: error.sqlstate == "53300")


def pays_again_after_a_shutdown(url: str) -> bool:
    try:
        return pay(url)
    except psycopg.OperationalError as error:
        return error.sqlstate == "57P01" and pay(url)


def pays_again_after_a_second(url: str) -> bool:
    first = threading.Thread(target=pay, args=(url,))
    first.start()
    first.join(1.0)
    if first.is_alive():
        pay(url)
        first.join()
    return True


@dataclass(frozen=True)
class Planted:
    """`ill` has a defect that `effect` alone reveals (at that moment, where there is one)."""

    effect: str
    ill: Pay
    when: str = ""

    def __str__(self) -> str:
        return f"{self.effect or 'cut'}-{self.ill.__name__}"


PLANTED = (
    Planted("", takes_a_lost_answer_for_a_yes, "before"),
    Planted("", takes_a_lost_answer_for_a_no, "after"),
    Planted("error 40001", leaves_a_conflict_to_the_other),
    Planted("error 40P01", leaves_a_deadlock_to_the_other),
    Planted("error 53300", takes_a_full_house_for_a_queue),
    Planted("error 57P01", pays_again_after_a_shutdown),
    Planted("delay 1.5", pays_again_after_a_second),
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    place = make_temporary_folder(unprivileged())
    with Servers(place) as servers:
        yield servers.postgres().admin_url
    shutil.rmtree(place)


def struck(function: Pay, url: str, effect: str, *more: str) -> Iterator[tuple[Struck, bool]]:
    """Each run around the payment's statement and its commit (and `more`), and whether what was returned is so."""
    with psycopg.connect(url, autocommit=True) as connection:
        for one in sweep_wire(
            function, url, effect=effect, only=("INSERT", "COMMIT", *more),
            before=lambda: connection.execute(TABLE),
        ):  # fmt: skip
            ((paid,),) = connection.execute("SELECT count(*) FROM payments").fetchall()
            yield one, paid == 1 if one.result is True else paid <= 1


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_one_effect_alone_reveals_it(planted: Planted, url: str) -> None:
    effects = EFFECTS if planted.effect in EFFECTS else (planted.effect,)
    wrong = [one.recipe for effect in effects for one, right in struck(planted.ill, url, effect) if not right]
    assert {recipe.effect for recipe in wrong} == {planted.effect}
    if planted.when:
        assert {recipe.when for recipe in wrong if recipe.what == "COMMIT"} == {planted.when}


@pytest.mark.parametrize("effect", [*EFFECTS, "delay 0.1"])
def test_who_looks_first_stands_them_all(effect: str, url: str) -> None:
    outcomes = list(struck(looks_before_it_pays_again, url, effect, "StartupMessage"))
    assert outcomes
    assert [str(one) for one, right in outcomes if not right] == []


HEAD = "from __future__ import annotations\nimport os, pathlib, threading, psycopg\n"
PAID = """
import os, pathlib, psycopg, sys
with psycopg.connect(os.environ["SHOP_DATABASE"]) as connection:
    ((paid,),) = connection.execute("SELECT count(*) FROM payments").fetchall()
sys.exit(f"paid {paid} times" if (paid != 1 if pathlib.Path("paid").exists() else paid > 1) else 0)
"""
RESET = f"""
import os, psycopg
with psycopg.connect(os.environ["SHOP_DATABASE"]) as connection:
    connection.execute({TABLE!r})
"""


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_sweep_of_the_program_finds_it(
    planted: Planted, url: str, monkeypatch: pytest.MonkeyPatch, script: Callable[[str, str], str]
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", url)
    *_, last = [str(one) for one, right in struck(planted.ill, url, planted.effect) if not right]
    text = HEAD + "".join(inspect.getsource(part) for part in (pay, planted.ill))
    text += f"if {planted.ill.__name__}(os.environ['SHOP_DATABASE']):\n    pathlib.Path('paid').touch()\n"
    command, check, setup = (
        (sys.executable, script(name, code))
        for name, code in (("pay.py", text), ("paid.py", PAID), ("reset.py", RESET))
    )  # fmt: skip
    found = sweep(Plan(command, check, setup, wires=("SHOP_DATABASE",), at=last))
    assert found.inconclusive == ""
    assert [trial.outcome for trial in found.trials] == [Outcome.VIOLATION]
