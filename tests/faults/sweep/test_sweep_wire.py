"""What is said to a real PostgreSQL, struck at every message: who pays twice, and who does not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from premortem.faults.sweep.engine import sweep
from premortem.faults.sweep.here import sweep_wire
from premortem.faults.sweep.plan import Plan
from premortem.model.recipe import Recipe
from premortem.model.sweep import Outcome
from premortem.servers import Servers
from premortem.servers.account import make_temporary_folder, unprivileged

PYTHON = sys.executable
PAY = """
import os, psycopg
url = os.environ["SHOP_DATABASE"]
for attempt in range(3):
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            connection.execute(STATEMENT)
        break
    except psycopg.OperationalError:
        pass
else:
    raise SystemExit("the database is not to be had")
"""
NAIVE = PAY.replace("STATEMENT", repr("INSERT INTO payments (amount) VALUES (10)"))
GUARDED = PAY.replace(
    "STATEMENT", repr("INSERT INTO payments (key, amount) VALUES ('order-1', 10) ON CONFLICT DO NOTHING")
)
RESET = """
import os, psycopg
with psycopg.connect(os.environ["SHOP_DATABASE"]) as connection:
    connection.execute("DROP TABLE IF EXISTS payments")
    connection.execute("CREATE TABLE payments (key text UNIQUE, amount int)")
"""
AUDIT = """
import os, psycopg, sys
with psycopg.connect(os.environ["SHOP_DATABASE"]) as connection:
    (paid,) = connection.execute("SELECT count(*) FROM payments").fetchone()
sys.exit(f"paid {paid} times" if paid > 1 else 0)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    place = make_temporary_folder(unprivileged())
    with Servers(place) as servers:
        yield servers.postgres().admin_url
    shutil.rmtree(place)


@pytest.fixture
def plan(url: str, monkeypatch: pytest.MonkeyPatch, script: Callable[[str, str], str]) -> Plan:
    monkeypatch.setenv("SHOP_DATABASE", url)
    return Plan(
        (PYTHON, script("naive.py", NAIVE)),
        (PYTHON, script("audit.py", AUDIT)),
        (PYTHON, script("reset.py", RESET)),
        wires=("SHOP_DATABASE",),
        budget=20,  # what is near to COMMIT; one at a time, for there is one database
    )


def test_a_retried_transaction_pays_twice_around_its_commit_and_nowhere_else(plan: Plan) -> None:
    naive = sweep(plan)
    violations = [trial for trial in naive.trials if trial.outcome is Outcome.VIOLATION]
    told = {str(replace(Recipe.parse(trial.recipe), onward=False)) for trial in violations}
    certain = {
        "postgres:COMMIT#1:after",
        "postgres:CommandComplete#3",  # of COMMIT: BEGIN and INSERT have the first two
        "postgres:ReadyForQuery#4",
    }
    # A reset right behind the answer takes it along where the client has not read it yet.
    assert certain <= told <= certain | {"postgres:CommandComplete#3:after", "postgres:ReadyForQuery#4:after"}
    assert {trial.evidence for trial in violations} <= {"paid 2 times", "paid 3 times"}
    assert naive.exit_code == 1
    assert naive.left_out == naive.points - 20
    assert naive.clean is not None
    assert naive.clean.differs == ""


def test_a_payment_with_a_key_is_paid_once(plan: Plan, script: Callable[[str, str], str]) -> None:
    guarded = sweep(replace(plan, command=(PYTHON, script("guarded.py", GUARDED))))
    assert guarded.wrong == ()
    assert guarded.exit_code == 0
    assert "postgres:COMMIT#1:after" in [trial.recipe for trial in guarded.trials]


def test_an_error_is_made_up_and_survived(plan: Plan) -> None:
    (trial,) = sweep(replace(plan, at="postgres:COMMIT#1=error 40001")).trials
    assert trial.outcome is Outcome.SURVIVED
    assert trial.strikes


def test_a_function_is_swept_in_python(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS told; CREATE TABLE told (word text)")

        def tell(through: str) -> None:
            with psycopg.connect(through, connect_timeout=5) as other:
                other.execute("INSERT INTO told VALUES ('once')")

        def forget() -> None:
            connection.execute("DELETE FROM told")

        seen = {}
        for point in sweep_wire(tell, url, only=("COMMIT",), before=forget):
            ((rows,),) = connection.execute("SELECT count(*) FROM told").fetchall()
            seen[str(point.recipe)] = (rows, type(point.error).__name__)
    assert seen == {"postgres:COMMIT#1": (0, "OperationalError"), "postgres:COMMIT#1:after": (1, "OperationalError")}
