"""A sweep in every form: worst first, nothing lost, nothing that could steer a terminal or break a document."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from premortem.model.codec import decode
from premortem.model.run import Fact
from premortem.model.sweep import Clean, Outcome, Sweep, Trial
from premortem.report import sweep_html, sweep_json, sweep_junit, sweep_progress, sweep_text

RENDERERS = (sweep_html.render, sweep_json.render, sweep_junit.render, sweep_text.render)


def trial(recipe: str, outcome: Outcome, evidence: str = "", then: str = "", detail: str = "") -> Trial:
    return Trial(recipe, outcome, "exit 0", detail, then, ("COMMIT number 1",), evidence, "retrying", 0.25)


SWEPT = Sweep(
    id="20260101-120000-2a-7f3a",
    started="2026-01-01T12:00:00+00:00",
    seed=42,
    jobs=2,
    arguments=("--check", "python audit.py", "--wire", "DATABASE_URL", "--", "python", "pay.py"),
    facts=(Fact("python", "3.13.1"),),
    clean=Clean(0.2, 34),
    points=140,
    left_out=133,
    trials=(
        trial("postgres:INSERT#1", Outcome.SURVIVED),
        trial("postgres:COMMIT#1:after", Outcome.VIOLATION, "paid 2 times", detail="of the client"),
        trial("postgres:COMMIT#1+:after", Outcome.VIOLATION, "paid 3 times"),
        trial("postgres:BEGIN#1", Outcome.HANG),
        trial("postgres:BEGIN#2", Outcome.UNSTRUCK),
        trial("postgres:INSERT#2", Outcome.UNJUDGED, "the check did not end within 5.0 s"),
        trial("postgres:INSERT#1", Outcome.ERROR, then="postgres:BEGIN#1"),
    ),
    elapsed_s=12.5,
    ended="complete",
)


def test_the_text_has_a_line_for_each_class_and_a_command_for_each_that_is_wrong() -> None:
    text = sweep_text.render(SWEPT)
    order = re.findall(r"^. (VIOLATION|HANG|ERROR|UNJUDGED|UNSTRUCK|SURVIVED) +\d", text, re.MULTILINE)
    assert order[:6] == ["VIOLATION", "HANG", "ERROR", "UNJUDGED", "UNSTRUCK", "SURVIVED"]
    flat = " ".join(text.split())
    assert "premortem sweep --at 'postgres:COMMIT#1:after' --check 'python audit.py' --wire DATABASE_URL" in flat
    assert "2 violations and 1 hang under 7 faults in 12.50 s" in text
    assert "the budget left out 133 of 140 points" in flat
    assert "1 of 7 faults did not strike" in flat
    assert "postgres:INSERT then postgres:BEGIN" in sweep_text.render(SWEPT, 120)
    assert "exit code 1" in text


def test_the_table_hides_no_part_of_a_fault() -> None:
    long = trial("http:GET /prices#1:after=content-type text/csv", Outcome.ERROR, then="http:POST /orders#1=html")
    text = sweep_text.render(replace(SWEPT, trials=(long,)))
    column = "".join(line[23:62].rstrip().replace(" ", "") for line in text.splitlines()[2:5])
    assert column == "http:GET/prices:after=content-typetext/csvthenhttp:POST/orders=html"


def test_what_ended_otherwise_once_and_from_there_on_is_told_apart() -> None:
    trials = (
        trial("redis:INCR#1", Outcome.SURVIVED),
        trial("redis:INCR#1+", Outcome.ERROR),
        trial("redis:GET#1", Outcome.SURVIVED),
        trial("redis:GET#2+", Outcome.SURVIVED),
    )
    names = [one.name for one in replace(SWEPT, trials=trials).classes]
    assert names == ["redis:INCR from there on", "redis:INCR", "redis:GET"]


@pytest.mark.parametrize(
    ("jobs", "arguments", "warned"),
    [
        (2, ("--wire", "URL", "--", "job"), True),
        (2, ("--watch", "file,socket", "--", "job"), True),
        (2, ("--watch", "file", "--", "job", "--wire"), False),
        (1, ("--wire", "URL", "--", "job"), False),
    ],
)
def test_trials_that_meet_in_one_server_are_warned_of(jobs: int, arguments: tuple[str, ...], *, warned: bool) -> None:
    sweep = replace(SWEPT, jobs=jobs, arguments=arguments)
    for render in (sweep_text.render, sweep_html.render):
        assert ("2 trials at a time use the same server" in render(sweep)) is warned


@pytest.mark.parametrize("width", [20, 40, 71, 72, 100, 200])
def test_the_text_fits_any_window(width: int) -> None:
    assert "VIOLATION" in sweep_text.render(SWEPT, width)


def test_the_json_is_the_whole_record() -> None:
    document = json.loads(sweep_json.render(SWEPT))
    assert decode(Sweep, document["sweep"]) == SWEPT
    assert (document["exit_code"], document["counts"]["VIOLATION"], document["left_out"]) == (1, 2, 133)
    assert document["classes"][0]["first"] == "postgres:COMMIT#1:after"


def test_junit_tells_what_is_wrong_from_what_is_not_known() -> None:
    root = ET.fromstring(sweep_junit.render(SWEPT))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("7", "2", "2", "1")
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert "reproduce: premortem sweep --at" in (failure.text or "")


@pytest.mark.parametrize(
    "change", [{"ended": "cut off by Terminated"}, {"trials": ()}, {"flaw": "the clean run fails"}]
)
def test_junit_is_never_green_by_chance(change: dict[str, object]) -> None:
    green = replace(SWEPT, trials=SWEPT.trials[:1])
    assert ET.fromstring(sweep_junit.render(green)).get("errors") == "0"
    assert ET.fromstring(sweep_junit.render(replace(green, **change))).get("errors") == "1"  # type: ignore[arg-type] # by name


def test_the_page_stands_alone_and_leads_from_each_class_to_its_story() -> None:
    page = sweep_html.render(SWEPT)
    assert page.count("<article") == 3
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=", page)
    assert "paid 2 times" in page
    assert "All 2 of them" in page


@given(text=st.text(st.characters(codec=None), max_size=60))
@pytest.mark.parametrize("render", RENDERERS)
def test_foreign_text_cannot_steer_or_break(render: Callable[[Sweep], str], text: str) -> None:
    said = replace(SWEPT, trials=tuple(replace(one, evidence=text, output=text, ended=text) for one in SWEPT.trials))
    rendered = render(said)
    rendered.encode()
    assert not set(rendered) & {"\x1b", "\x07", "\u202e", "\x00"}
    if render is sweep_junit.render:
        ET.fromstring(rendered)


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_tells_each_new_kind_of_trouble_once(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, color_system=None)
    with sweep_progress.live(console) as audience:
        audience.planned(SWEPT, len(SWEPT.trials))
        for one in SWEPT.trials:
            audience.tried(one)
    assert stream.getvalue().count("paid ") == 1
    assert "clean run: 34 operations" in stream.getvalue()
