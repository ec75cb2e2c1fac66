from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.model import Proof, Run, Verdict
from premortem.report.html import render

ANYTHING = st.text(st.characters(), max_size=60)
VOID = {"meta", "path", "rect"}
IMPLIED = {"dt", "dd", "td", "th"}  # their end tags may be left out, and are
WORDS = (
    "html head title style body header footer main section article p h1 h2 h3 h4 span b i a svg ul ol li dl div "
    "table thead tbody tr details summary pre code ins del"
)
KNOWN = VOID | IMPLIED | set(WORDS.split())


class Page(HTMLParser):
    """What a browser sees: tags, attributes, text; and whether all that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID | IMPLIED:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in IMPLIED:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment came from somewhere: {data}")


def checked(run: Run) -> Page:
    page = Page(render(run))
    assert set(page.tags) <= KNOWN
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")]
    assert all(value.startswith("#") for name, value in page.attributes if name == "href")
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in ids} >= {value for name, value in page.attributes if name == "href"}
    return page


def test_the_page_stands_alone(run: Run) -> None:
    text = render(run)
    assert not re.search(r"https?://|<script|@import|url\(|//[a-z]", text)
    page = checked(run)
    assert page.tags["article"] == len(run.proofs)


def test_the_page_tells_both_sides_the_story_and_the_command(run: Run) -> None:
    text = "".join(checked(run).text)
    for said in (
        "save() truncates the only good copy",
        "premortem.durable.Checkpoint",
        "broken raises json.decoder.JSONDecodeError",
        "torn_checkpoint.py:48 in scenario",
        "struck at 0.121 s: write #2 of state.json",
        "premortem prove src/premortem/museum/exhibits/ingest/wrong-types.py --seed 20260101",
        "+     draft = path.with_suffix",
        "charging 4711",
    ):
        assert said in text


def test_what_is_proven_shows_no_traceback(all_proven: Run) -> None:
    assert "Traceback" not in render(all_proven)


def test_two_exhibits_of_one_name_have_two_anchors(proofs: Callable[[Verdict], Proof], run: Run) -> None:
    checked(replace(run, proofs=(proofs(Verdict.PROVEN),) * 3))


def test_an_exhibit_cannot_take_the_anchor_of_the_table(proofs: Callable[[Verdict], Proof], run: Run) -> None:
    made = proofs(Verdict.PROVEN)
    checked(replace(run, proofs=(replace(made, mode=replace(made.mode, gallery="", slug="verdicts")),)))


def test_a_hundred_exhibits_can_be_sent_by_mail(hundred: Run) -> None:
    assert len(render(hundred).encode()) < 500_000


def test_empty_and_interrupted_runs_are_pages_too(empty: Run, interrupted: Run) -> None:
    assert "what did not run is not proven" in "".join(checked(empty).text)
    assert "interrupted by SIGINT after 1 of 40" in "".join(checked(interrupted).text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANYTHING, around=st.sampled_from(["{}", "<zz {}>", "</pre>{}", '"{}', "&lt;{}", "<!--{}"]))
def test_any_text_in_any_field_stays_text(text: str, around: str, saying: Callable[[str], Run]) -> None:
    checked(saying(around.format(text)))
