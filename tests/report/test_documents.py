from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as ET

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.model import Proof, Run, Verdict
from premortem.model.codec import decode
from premortem.report import as_json, junit, markdown, picture

ANYTHING = st.text(st.characters(), max_size=60)
anything = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_json_holds_the_run_and_its_sum(run: Run) -> None:
    document = json.loads(as_json.render(run))
    assert decode(Run, document["run"]) == run
    assert (document["verdict"], document["exit_code"], document["complete"]) == ("GUARD_FAILED", 1, True)
    assert document["counts"]["PROVEN"] == 2
    assert list(document["counts"]) == [verdict.value for verdict in Verdict]


def test_json_says_that_a_run_was_interrupted(interrupted: Run) -> None:
    document = json.loads(as_json.render(interrupted))
    assert (document["complete"], document["exit_code"]) == (False, 3)


@anything
@given(text=ANYTHING)
def test_json_gives_back_any_text(text: str, saying: Callable[[str], Run]) -> None:
    made = saying(text)
    shown = as_json.render(made)
    assert shown.isascii()
    assert decode(Run, json.loads(shown)["run"]) == made


def test_junit_counts_as_its_readers_count(run: Run) -> None:
    root = ET.fromstring(junit.render(run))
    assert {suite.get("name") for suite in root} == {"databases", "ingest", "reliability"}
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["8", "3", "1", "2"]
    assert len(root.findall(".//testcase")) == 8
    assert {element.get("type") for element in root.iter("failure")} == {
        "GUARD_FAILED",
        "MISPREDICTED",
        "NOT_REPRODUCED",
    }
    assert [element.get("type") for element in root.iter("error")] == ["INCONCLUSIVE"]
    assert all("postgres is not available" in element.get("message", "") for element in root.iter("skipped"))
    assert "fault.struck" in root.findtext(".//testcase[@name='charged-twice']/system-out", "")


def test_junit_of_an_incomplete_run_is_never_all_green(empty: Run, interrupted: Run) -> None:
    for run in (empty, interrupted):
        root = ET.fromstring(junit.render(run))
        assert root.get("errors") == "1"
        assert root.find(".//testcase[@name='the run itself']/error") is not None


@anything
@given(text=ANYTHING)
def test_junit_holds_any_text(text: str, saying: Callable[[str], Run]) -> None:
    root = ET.fromstring(junit.render(saying(text)).encode())
    assert len(root.findall(".//testcase")) == 8


def test_markdown_has_a_row_and_a_fold_for_each_exhibit(run: Run) -> None:
    text = markdown.render(run)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(run.proofs)
    assert text.count("<details>") == text.count("</details>") == len(run.proofs)
    assert "```diff" in text


def test_markdown_escapes_what_would_be_markup(proofs: Callable[[Verdict], Proof], run: Run) -> None:
    hostile = "a|b `c` <script> *d* @somebody #1"
    text = markdown.render(replace(run, proofs=(replace(proofs(Verdict.NOT_REPRODUCED), reason=hostile),)))
    assert r"a\|b \`c\` &lt;script&gt; \*d\* \@somebody \#1" in text
    assert "<script" not in text


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert markdown.block("a ```` b").startswith("`````\n")


def test_markdown_fits_in_a_step_summary_and_says_what_it_left_out(hundred: Run) -> None:
    text = markdown.render(hundred)
    assert len(text.encode()) < 200_000
    assert "more are in the HTML report" in text
    assert text.index("<details><summary>✗ GUARD_FAILED") < text.index("<details><summary>✓ PROVEN")


def _rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| ")]


@anything
@given(text=ANYTHING)
def test_any_text_keeps_the_table_of_markdown_whole(text: str, saying: Callable[[str], Run]) -> None:
    rows = _rows(markdown.render(saying(text)).partition("<details>")[0])
    assert len(rows) == 2 + 7
    assert all(row.replace(r"\\", "").replace(r"\|", "").count("|") == 6 for row in rows)


def test_the_picture_is_one_file_and_the_same_each_time(run: Run) -> None:
    text = picture.render(run)
    assert ET.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    alone = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not any(address in alone for address in ("http", "@font-face", "@import", "href", "<script"))
    assert "premortem" in text
    assert text == picture.render(run)


@settings(anything, max_examples=25)
@given(text=ANYTHING)
def test_the_picture_holds_any_text(text: str, saying: Callable[[str], Run]) -> None:
    root = ET.fromstring(picture.render(saying(text)).encode())
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
