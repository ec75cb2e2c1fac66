from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.model import Failure, FailureMode, Moment, Observation, Proof, Verdict
from premortem.report.comparison import diff, side_by_side
from premortem.report.legible import legible, one_line, tail
from premortem.report.lesson import changes, renamed
from premortem.report.track import HEIGHT, WIDTH, track
from premortem.report.wording import seconds


def mode(broken: str, fixed: str) -> FailureMode:
    return FailureMode("g", "s", "g/s.py", broken=broken, fixed=fixed)


def test_colour_goes_and_what_cannot_be_shown_is_shown_as_its_escape() -> None:
    assert legible("\x1b[1;31mred\x1b[0m\x00\ud800\u202e") == r"red\x00\ud800\u202e"
    assert legible("a\r\nb\rc\td") == "a\nb\nc\td"
    assert legible("naïve 東京 שלום 🙂") == "naïve 東京 שלום 🙂"


@given(st.text(st.characters()))
def test_what_is_legible_can_be_written_anywhere(text: str) -> None:
    shown = legible(text)
    shown.encode("utf-8")
    assert all(character.isprintable() or character in "\n\t" or character.isspace() or ord(character) > 0xA0
               for character in shown)  # fmt: skip
    assert "\n" not in one_line(text)
    assert len(one_line(text, 20)) <= 20


def test_the_tail_is_the_end() -> None:
    assert tail("a\nb\nc\n", 2, 100) == "…\nb\nc"
    assert tail("a\nb\n", 2, 100) == "a\nb"
    assert tail("abcdef", 2, 3) == "…\ndef"


def test_both_variants_get_one_name_in_code_alone() -> None:
    source = 'def broken(n):\n    """broken."""\n    return broken(n - 1) + x.broken  # broken'
    assert renamed(source, "broken") == (
        'def subject(n):\n    """broken."""\n    return subject(n - 1) + x.broken  # broken'
    )


def test_what_is_not_python_is_left_as_it_is() -> None:
    assert renamed("def broken((:\n", "broken") == "def broken((:\n"


def test_the_diff_holds_the_lesson_alone() -> None:
    made = mode("def broken(n):\n    return n", "def fixed(n):\n    return n + 1")
    assert diff(made) == "--- broken\n+++ fixed\n@@ -1,2 +1,2 @@\n def subject(n):\n-    return n\n+    return n + 1\n"
    assert [(change.sign, change.lines) for change in changes(made)] == [
        (" ", ("def subject(n):",)),
        ("-", ("    return n",)),
        ("+", ("    return n + 1",)),
    ]


def test_lines_that_look_like_a_diffs_own_are_kept() -> None:
    made = mode("def broken():\n    '''\n-- sql\n@@ x\n'''", "def fixed():\n    '''\n++ y\n'''")
    assert {line for change in changes(made) for line in change.lines} >= {"-- sql", "@@ x", "++ y"}


@pytest.mark.parametrize("source", ["", "pass"])
def test_variants_that_read_the_same_have_no_diff(source: str) -> None:
    assert diff(mode(source, source)) == ""
    assert changes(mode(source, source)) == ()


def test_three_columns_where_there_is_room_and_a_stack_where_not(proofs: Callable[[Verdict], Proof]) -> None:
    wide, narrow = side_by_side(proofs(Verdict.PROVEN), 120), side_by_side(proofs(Verdict.PROVEN), 60)
    head = wide.splitlines()[0]
    assert head.index("expected") < head.index("actual") < head.index("correct")
    assert [line for line in narrow.splitlines() if line and not line.startswith(" ")] == [
        "expected (the prediction)",
        "actual (what broken did)",
        "correct (what fixed did)",
    ]
    for text in (wide, narrow):
        assert "fixed survived" in text
        assert "fault.struck" in text
    assert max(map(len, narrow.splitlines())) <= 60


def test_a_track_is_to_scale_and_marks_what_happened() -> None:
    seen = Observation(
        "broken",
        (
            Moment(0.0, "subject.called"),
            Moment(1.0, "subject.returned"),
            Moment(2.0, "fault.struck", "x"),
            Moment(4.0, "fault.lifted", "x"),
        ),
    )
    drawn = track(seen)
    paths = {stroke.kind: stroke.path for stroke in drawn.strokes}
    assert drawn.end_s == 4.0
    assert set(paths) == {"call", "returned", "struck", "fault", "lifted"}
    assert paths["struck"].startswith(f"M{WIDTH // 2} ")
    assert HEIGHT > 0


def test_a_call_that_never_came_back_is_drawn_to_the_end() -> None:
    hung = Failure("hung", "", "did not come back within 2 s")
    drawn = track(Observation("broken", (Moment(1.0, "subject.called"),), hung, elapsed_s=3.0))
    assert drawn.end_s == 3.0
    assert [stroke.kind for stroke in drawn.strokes] == ["lost"]


def test_a_track_of_nothing_or_of_one_instant_is_no_error(proofs: Callable[[Verdict], Proof]) -> None:
    assert track(Observation("fixed")).strokes == ()
    at_once = replace(proofs(Verdict.PROVEN).broken, timeline=(Moment(0.0, "fault.struck"),))
    assert track(at_once).end_s == 0.0


@pytest.mark.parametrize(("span_s", "told"), [(0.4231, "0.42 s"), (59.99, "59.99 s"), (125.4, "2 min 05 s")])
def test_seconds_for_people(span_s: float, told: str) -> None:
    assert seconds(span_s) == told
