"""What a variant wrote down: whole lines survive, torn ones are left out, the timeline stays readable and true."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.experiment.story import StoryWriter, Told, read_story, timeline
from premortem.model import Observation
from premortem.ports import ManualClock

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=50)
events = st.builds(Event, st.text(), st.dictionaries(st.text(), values, max_size=3).map(lambda d: tuple(d.items())))


def told(*names: str) -> list[Told]:
    return [Told(at * 0.1, Event(name)) for at, name in enumerate(names)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all the examples of a property."""
    return tmp_path_factory.mktemp("stories")


@given(heard=st.lists(events, max_size=5))
def test_what_is_told_comes_back_in_order_and_in_time(shared: Path, heard: list[Event]) -> None:
    path, clock = shared / "story.jsonl", ManualClock()
    path.unlink(missing_ok=True)
    writer = StoryWriter(path, clock)
    for event in heard:
        writer(event)
        clock.advance(0.25)
    assert read_story(path) == tuple(Told(at * 0.25, event) for at, event in enumerate(heard))
    os.close(writer._file)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    writer = StoryWriter(tmp_path / "story.jsonl", ManualClock())
    for name in ("one", "two", "three"):
        writer(Event(name, (("what", "é"),)))
    os.close(writer._file)
    return tmp_path / "story.jsonl"


def test_a_torn_last_line_is_left_out(path: Path) -> None:
    content = path.read_bytes()
    last = content.rindex(b"[")
    for cut in range(last, len(content)):
        path.write_bytes(content[:cut])
        assert [line.event.name for line in read_story(path)] == ["one", "two"]


def test_an_empty_story_says_nothing(path: Path) -> None:
    path.write_bytes(b"")
    assert read_story(path) == ()


@pytest.mark.parametrize("junk", [b"hello\n", b"\xff\n", b"1\n", b"[1, 2, 3]\n", b'["x", "y", {}]\n', b"{}\n", b"\n"])
def test_a_damaged_story_is_one_clear_error(path: Path, junk: bytes) -> None:
    path.write_bytes(path.read_bytes() + junk)
    with pytest.raises(ConfigurationError, match=r"keep its files in lab\.folder"):
        read_story(path)


def test_a_story_that_is_gone_is_one_clear_error(path: Path) -> None:
    path.unlink()
    with pytest.raises(ConfigurationError, match="story cannot be read"):
        read_story(path)
    path.mkdir()
    with pytest.raises(ConfigurationError, match="story cannot be read"):
        read_story(path)


def test_a_long_text_is_cut_and_a_strange_value_becomes_text(tmp_path: Path) -> None:
    writer = StoryWriter(tmp_path / "story.jsonl", ManualClock())
    writer(Event("check.held", (("what", "x" * 10_000), ("seen", [1, 2]))))  # type: ignore[arg-type] # as users do
    (line,) = read_story(tmp_path / "story.jsonl")
    assert len(str(line.event.get("what"))) == 2000
    assert line.event.get("seen") == "[1, 2]"
    os.close(writer._file)


def test_the_timeline_leaves_out_what_the_machinery_says_to_itself() -> None:
    story = told("exhibit.loaded", "subject.called", "fault.struck", "scenario.failed", "scenario.ended")
    assert [moment.name for moment in timeline(story)] == ["subject.called", "fault.struck"]


def test_a_moment_reads_as_the_fault_what_it_hit_and_the_rest() -> None:
    story = [
        Told(0.5, Event("fault.struck", (("fault", "cell"), ("what", "row 2")))),
        Told(0.75, Event("server.started", (("port", 5432), ("seconds", 0.123456789), ("why", None)))),
        Told(1.0, Event("check.held", (("what", "y" * 1000),))),
    ]
    assert [moment.detail[:30] for moment in timeline(story)] == [
        "cell: row 2",
        "port=5432 seconds=0.123457",
        "y" * 30,
    ]
    assert timeline(story)[0].at_s == 0.5
    assert len(timeline(story)[2].detail) == 300


def test_a_timeline_of_forty_is_told_in_full() -> None:
    story = told(*(f"m{number}" for number in range(40)))
    assert [moment.name for moment in timeline(story)] == [f"m{number}" for number in range(40)]


def test_a_long_timeline_keeps_both_ends_and_says_what_is_left_out() -> None:
    story = told(*["subject.called", "subject.returned"] * 100)
    moments = timeline(story)
    assert len(moments) == 41
    assert (moments[20].name, moments[20].detail) == ("story.shortened", "160 moments left out")
    assert [moment.at_s for moment in (moments[0], moments[-1])] == [story[0].at_s, story[-1].at_s]


@given(
    st.lists(st.sampled_from(["subject.called", "subject.returned", "subject.raised", "fault.struck"]), max_size=200)
)
def test_shortening_changes_no_judgement(names: list[str]) -> None:
    story = told(*names)
    seen = Observation("broken", timeline(story))
    before = names[: names.index("fault.struck")] if "fault.struck" in names else names
    assert bool(seen.strikes) == ("fault.struck" in names)
    assert seen.was_healthy == ("subject.returned" in before and "subject.raised" not in before)
    assert len(seen.timeline) <= 50
    assert [moment.at_s for moment in seen.timeline] == sorted(moment.at_s for moment in seen.timeline)
