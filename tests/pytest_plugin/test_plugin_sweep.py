"""The fixture `sweep`: every point is judged by the test, and one that fails prints its recipe."""

from __future__ import annotations

import pytest

WRITER = """
import json
import os

def torn(path, state):
    path.write_text(json.dumps(state))

def whole(path, state):
    draft = path.with_suffix(".draft")
    with draft.open("w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
"""
TEST = """
import json

import pytest
from writer import torn, whole

@pytest.mark.sweep
def test_it(sweep, tmp_path):
    path = tmp_path / "state.json"
    SAVE(path, {"n": 1})
    points = 0
    for point in sweep.EVERY(SAVE, path, {"n": 2}):
        points += 1
        assert json.loads(path.read_text())["n"] in (1, 2)
    assert points > 1
"""


def written(pytester: pytest.Pytester, save: str, every: str) -> pytest.Pytester:
    pytester.makepyfile(writer=WRITER, test_it=TEST.replace("SAVE", save).replace("EVERY", every))
    return pytester


@pytest.mark.parametrize(
    ("every", "recipe"), [("every_crash", "syscall:write#1=kill"), ("every_power_loss", "power:*")]
)
def test_a_torn_writer_is_found_and_its_recipe_printed(pytester: pytest.Pytester, every: str, recipe: str) -> None:
    result = written(pytester, "torn", every).runpytest_subprocess("-m", "sweep")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*JSONDecodeError*", "*what premortem struck*", f"*the sweep stands at *{recipe}*"])


@pytest.mark.parametrize("every", ["every_crash", "every_power_loss"])
def test_a_whole_writer_survives_every_point(pytester: pytest.Pytester, every: str) -> None:
    written(pytester, "whole", every).runpytest_subprocess().assert_outcomes(passed=1)


def test_a_budget_ends_the_sweep(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        writer=WRITER,
        test_it="""
        import pytest
        from writer import whole

        @pytest.mark.sweep(budget=2)
        def test_it(sweep, tmp_path):
            assert len(list(sweep.every_crash(whole, tmp_path / "state.json", {}))) == 2
        """,
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_marker_that_is_none_says_what_it_takes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.sweep(points=2)
        def test_it(sweep):
            pass
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.sweep(points): takes budget=POINTS*"])


def test_calls_and_messages_are_swept_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        shop="""
        def pay(order):
            return f"paid {order}"
        """,
        test_it="""
        import psycopg

        import shop

        def test_calls(sweep):
            orders = lambda: [shop.pay(order) for order in range(3)]
            assert [type(point.error) for point in sweep.every_call(orders, call="shop:pay")] == [ConnectionError] * 3

        def test_messages(sweep, postgres):
            postgres.query("CREATE TABLE payments (amount int)")

            def pay(url):
                with psycopg.connect(url) as db:
                    db.execute("INSERT INTO payments VALUES (1)")

            empty = lambda: postgres.query("TRUNCATE payments")
            there = {
                str(point.recipe): postgres.value("SELECT count(*) FROM payments")
                for point in sweep.every_cut(pay, postgres.url, only=("COMMIT",), before=empty)
            }
            assert there == {"postgres:COMMIT#1": 0, "postgres:COMMIT#1:after": 1}
        """,
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)
