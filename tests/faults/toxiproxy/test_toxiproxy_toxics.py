"""The table of toxics, in both directions, and what is refused; no socket is opened here."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.proxy.toxiproxy.fields import Json, read_json
from premortem.faults.proxy.toxiproxy.refusals import Refused
from premortem.faults.proxy.toxiproxy.toxic_kinds import KINDS
from premortem.faults.proxy.toxiproxy.toxics import read_toxic, toxic_of

NUMERIC = sorted(set(KINDS) - {"at"})


@pytest.mark.parametrize(
    ("type_", "attributes", "parameters"),
    [
        ("latency", {"latency": 1000, "jitter": 50}, {"delay_s": 1.0, "jitter_s": 0.05}),
        ("bandwidth", {"rate": 64}, {"bytes_per_s": 64_000}),
        ("bandwidth", {"rate": 0}, {"bytes_per_s": 0}),
        ("slow_close", {"delay": 20}, {"delay_s": 0.02}),
        ("timeout", {"timeout": 0}, {"close_after_s": None}),
        ("timeout", {"timeout": 500}, {"close_after_s": 0.5}),
        ("reset_peer", {"timeout": 0}, {"after_s": 0}),
        (
            "slicer",
            {"average_size": 10, "size_variation": 3, "delay": 200},
            {"size_bytes": 10, "spread_bytes": 3, "pause_s": 0.0002},
        ),
        ("limit_data", {"bytes": 42}, {"bytes_": 42}),
        ("corrupt", {"every_bytes": 9}, {"every_bytes": 9}),
        ("fail_first", {"connections": 2}, {"n": 2}),
    ],
)
def test_units_are_toxiproxys(type_: str, attributes: dict[str, Json], parameters: dict[str, float | None]) -> None:
    found = read_toxic({"type": type_, "attributes": attributes}).parameters()
    assert found == pytest.approx(parameters) if None not in parameters.values() else found == parameters


def test_defaults_are_toxiproxys() -> None:
    assert read_toxic({"type": "latency"}).shown() == {
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {"latency": 0, "jitter": 0},
    }


@given(
    st.sampled_from(NUMERIC),
    st.sampled_from(["upstream", "downstream", "both"]),
    st.floats(0, 1),
    st.lists(st.integers(0, 10**9), min_size=3, max_size=3),
    st.text(min_size=1),
)
def test_what_is_shown_is_read_back_as_the_same(
    type_: str, stream: str, toxicity: float, values: list[int], name: str
) -> None:
    attributes: Json = {one.name: value for one, value in zip(KINDS[type_].attributes, values, strict=False)}
    toxic = read_toxic({"name": name, "type": type_, "stream": stream, "toxicity": toxicity, "attributes": attributes})
    assert read_toxic(json.loads(json.dumps(toxic.shown()))) == toxic
    assert toxic.changed({}) == toxic
    assert toxic_of(type_, toxic.parameters(), name=name, stream=toxic.stream, toxicity=toxicity) == toxic


@given(st.sampled_from(NUMERIC), st.integers(0, 10**6))
def test_an_update_changes_only_what_it_names(type_: str, value: int) -> None:
    before = read_toxic({"type": type_})
    for one in KINDS[type_].attributes:
        after = dict(before.changed({"attributes": {one.name: value}}).attributes)
        assert after == dict(before.attributes) | {one.name: value}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"type": "latencyy"}, "'latencyy' has to be one of latency, bandwidth"),
        ({}, "has to be one of"),
        ({"type": "latency", "stream": "sideways"}, "stream was invalid, can be either upstream or downstream"),
        ({"type": "latency", "attributes": {"jiter": 5}}, "did you mean 'jitter'?"),
        ({"type": "latency", "atributes": {}}, "did you mean 'attributes'?"),
        ({"type": "latency", "attributes": {"latency": -1}}, "0 or more"),
        ({"type": "latency", "attributes": {"latency": "20ms"}}, "has to be a number"),
        ({"type": "latency", "attributes": {"latency": True}}, "has to be a number"),
        ({"type": "latency", "attributes": [20]}, "has to be a JSON object"),
        ({"type": "limit_data", "attributes": {"bytes": 1.5}}, "has to be a whole number"),
        ({"type": "latency", "toxicity": 1.5}, "from 0 (no connection) to 1"),
        ({"type": "packet_loss", "attributes": {"loss_rate": 0.1}}, "premortem.faults.network.Network.lossy"),
        ({"type": "at"}, "missing required field: attributes.recipe"),
        ([], "a toxic has to be a JSON object"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(told: Json, said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)) as refused:
        read_toxic(told)
    assert refused.value.status == 400


def test_a_toxic_stays_what_it_is() -> None:
    toxic = read_toxic({"type": "latency", "name": "slow"})
    same: Json = {
        "name": "slow",
        "type": "latency",
        "stream": "DOWNSTREAM",
        "toxicity": 0.5,
        "attributes": {"latency": 9},
    }
    assert toxic.changed(same).toxicity == 0.5
    for name, value in (("name", "other"), ("type", "slicer"), ("stream", "upstream")):
        with pytest.raises(Refused, match="delete the toxic and add another"):
            toxic.changed({name: value})


def test_keys_are_read_without_regard_to_case_and_null_is_not_given() -> None:
    told: Json = {
        "Name": "slow",
        "Type": "latency",
        "Stream": "Upstream",
        "Toxicity": None,
        "Attributes": {"Latency": 5},
    }
    assert read_toxic(told).shown() == {
        "name": "slow",
        "type": "latency",
        "stream": "upstream",
        "toxicity": 1.0,
        "attributes": {"latency": 5, "jitter": 0},
    }


def test_a_recipe_keeps_its_options() -> None:
    toxic = read_toxic({"type": "at", "attributes": {"recipe": "http:GET /#1=status 503", "retry_after": "3"}})
    assert str(toxic) == "http:GET /#1=status 503"
    changed = toxic.changed({"attributes": {"recipe": "http:GET /#2"}})
    assert dict(changed.attributes) == {"recipe": "http:GET /#2", "retry_after": "3"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["name", "type", "stream", "toxicity", "attributes"])


@given(JSON | st.dictionaries(KEYS, JSON | st.sampled_from(sorted(KINDS))))
def test_any_json_is_a_toxic_or_refused(told: Json) -> None:
    with contextlib.suppress(Refused):
        assert 0 <= read_toxic(told).toxicity <= 1


@given(st.binary())
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refused):
        read_json(data)


def test_json_that_is_too_deep_is_refused() -> None:
    with pytest.raises(Refused, match="no JSON"):
        read_json("[" * 100_000)
