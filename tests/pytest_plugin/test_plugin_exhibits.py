"""Exhibits are collected as tests, with xdist too; a failing one says what it was held to and how to do it again."""

from __future__ import annotations

import pytest

EXHIBIT = '''"""A cart file that was cut off is taken for an empty cart.

Cause:       load() answers "I cannot read it" with "there is nothing".
Effect:      The customer starts again.
Fix:         A damaged one means the copy of the last good state.
Prevention:  Never take an error for an answer.
"""

import json

from premortem.errors import Violated

PREDICTION = Violated("the cart is still there")


def broken(path):
    try:
        return json.loads(path.read_text())
    except ValueError:
        return []


def fixed(path):
    try:
        return json.loads(path.read_text())
    except GUARD:
        return json.loads(path.with_suffix(".last").read_text())


def scenario(load, lab):
    cart = lab.folder / "cart.json"
    for file in (cart, cart.with_suffix(".last")):
        file.write_text('["tea"]')
    lab.check("it loads in clear weather", load(cart) == ["tea"])
    with lab.files.truncated(cart, keep=0.5):
        found = load(cart)
    lab.check("the cart is still there", found == ["tea"], f"{found}")
'''


@pytest.fixture
def folder(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\npremortem_exhibits = failures\n")
    pytester.mkdir("failures")
    (pytester.path / "failures" / "cut_off_cart.py").write_text(EXHIBIT.replace("GUARD", "ValueError"))
    (pytester.path / "failures" / "shared.py").write_text("NAMES = ['tea']\n")
    return pytester


def test_a_proven_exhibit_passes(folder: pytest.Pytester) -> None:
    result = folder.runpytest_subprocess("-v", "failures")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*cut_off_cart.py::cut-off-cart PASSED*"])


def test_one_whose_guard_failed_fails_with_the_whole_story(folder: pytest.Pytester) -> None:
    (folder.path / "failures" / "cut_off_cart.py").write_text(EXHIBIT.replace("GUARD", "RecursionError"))
    result = folder.runpytest_subprocess("failures", "--premortem-seed", "7")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "GUARD_FAILED: fixed raised json.decoder.JSONDecodeError*",
            "predicted: broken violates*the cart is still there*",
            "*struck: truncated*cart.json*bytes are left*",
            "reproduce: premortem prove *cut_off_cart.py --seed 7",
        ]
    )


def test_one_that_lacks_a_part_says_which(folder: pytest.Pytester) -> None:
    (folder.path / "failures" / "cut_off_cart.py").write_text('"""A title."""\n\nPREDICTION = KeyError\n')
    result = folder.runpytest_subprocess("failures")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INCONCLUSIVE: *lacks broken(...)*"])


def test_workers_of_xdist_prove_them_too_with_one_seed(folder: pytest.Pytester) -> None:
    source = EXHIBIT.replace("GUARD", "RecursionError")
    for name in ("cut_off_cart", "cut_off_list"):
        (folder.path / "failures" / f"{name}.py").write_text(source)
    result = folder.runpytest_subprocess("failures", "-n", "2")
    result.assert_outcomes(failed=2)
    seeds = {line.rpartition(" ")[2] for line in result.outlines if line.startswith("reproduce:")}
    assert len(seeds) == 1


def test_nothing_is_collected_where_no_folder_is_configured(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(cut_off_cart=EXHIBIT)
    result = pytester.runpytest_subprocess()
    result.assert_outcomes()


def test_the_plugin_brings_nothing_heavy_into_a_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_heavy():
            heavy = ("psycopg", "polars", "rich", "premortem.experiment.session", "premortem.servers")
            assert [name for name in heavy if name in sys.modules] == []
        """
    )
    pytester.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=1)
