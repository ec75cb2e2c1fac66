"""A recipe reads what it writes, and says what is wrong with any other line."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.model.recipe import Recipe, When, World

WORDS = st.text(st.characters(exclude_characters="#=\n", exclude_categories=["C", "Z"]), min_size=1).map(str.strip)
RECIPES = st.builds(
    Recipe,
    world=st.sampled_from(get_args(World)),
    what=WORDS.filter(bool),
    nth=st.integers(1, 999_999_999),
    onward=st.booleans(),
    when=st.sampled_from(get_args(When)),
    effect=st.sampled_from(["", "EIO", "error 40001", "status 503", "delay 0.5"]),
)


@given(RECIPES)
def test_it_reads_what_it_writes(recipe: Recipe) -> None:
    assert Recipe.parse(str(recipe)) == recipe


@given(st.text())
def test_any_other_line_is_refused_with_a_way_out(text: str) -> None:
    try:
        Recipe.parse(text)
    except ConfigurationError as error:
        assert "write postgres:COMMIT#1:after" in str(error)  # noqa: PT017 - most texts are none, and a few are


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("postgres:COMMIT", "form"),
        ("postgres:COMMIT#", "form"),
        ("mysql:COMMIT#1", "'mysql' is no world"),
        ("postgres:COMMIT#1:later", "'later' is no moment"),
        ("postgres:COMMIT#0", "#0 is nothing"),
        ("", "form"),
    ],
)
def test_it_says_which_part_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=wrong):
        Recipe.parse(text)


def test_other_names_of_a_world_are_understood() -> None:
    assert str(Recipe.parse("valkey:SET#2:after")) == "redis:SET#2:after"
    assert str(Recipe.parse(" http:POST /orders#1= status 503 ")) == "http:POST /orders#1=status 503"


@pytest.mark.parametrize(("line", "struck"), [("call:pay#2", [2]), ("call:pay#2+", [2, 3, 4])])
def test_it_strikes_once_or_from_then_on(line: str, struck: list[int]) -> None:
    assert [nth for nth in range(1, 5) if Recipe.parse(line).strikes(nth)] == struck
