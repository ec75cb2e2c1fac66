"""Every kind of ending, read from a story and from how the process ended."""

from __future__ import annotations

import signal

import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event, Value
from premortem.experiment.isolation import Ending
from premortem.experiment.limits import Limits
from premortem.experiment.observing import observe
from premortem.experiment.story import Told
from premortem.model import Failure, Prediction

Line = tuple[str, dict[str, Value]]

LOADED: Line = ("exhibit.loaded", {"kind": "hung", "what": "", "after_s": 2.0})
STACK = """Stack (most recent call first):
  File "/usr/lib/python3/threading.py", line 5 in wait
  File "/g/query_timeout.py", line 33 in fixed
  File "/g/query_timeout.py", line 60 in scenario
"""
CALLED: Line = ("subject.called", {})
RETURNED: Line = ("subject.returned", {})
RAISED: Line = ("subject.raised", {})
ENDED: Line = ("scenario.ended", {})


def story(*lines: Line) -> tuple[Told, ...]:
    return tuple(Told(at * 0.1, Event(name, tuple(fields.items()))) for at, (name, fields) in enumerate(lines))


def failure_of(*lines: Line, stack: str = "", ending: Ending = Ending(0)) -> Failure:  # noqa: B008 - frozen
    failure = observe("broken", story(LOADED, *lines), stack, ending).observation.failure
    assert failure
    return failure


def test_one_that_ended_well_has_no_failure() -> None:
    seen = observe("fixed", story(LOADED, CALLED, RETURNED, ENDED), "", Ending(0, output="said", elapsed_s=1.5))
    assert (seen.observation.failure, seen.observation.flaw, seen.observation.missing) == (None, "", "")
    assert (seen.observation.output, seen.observation.elapsed_s) == ("said", 1.5)
    assert seen.prediction == Prediction("hung", "", 2.0)


def test_one_that_failed_tells_it_all() -> None:
    failed: dict[str, Value] = {
        "kind": "raised",
        "what": "psycopg.Error",
        "message": "no",
        "kinds": "psycopg.Error\nbuiltins.Exception",
        "where": "x.py:3 in broken",
        "who": "subject",
    }
    kinds = ("psycopg.Error", "builtins.Exception")
    expected = Failure("raised", "psycopg.Error", "no", kinds, "x.py:3 in broken", "subject")
    assert failure_of(CALLED, RAISED, ("scenario.failed", failed), ending=Ending(1)) == expected


@pytest.mark.parametrize(
    ("ending", "stack", "kind", "words"),
    [
        (Ending(exceeded="time", elapsed_s=10.04), "", "hung", "did not come back within 10.0 s"),
        (Ending(-9, "time", elapsed_s=3.0), STACK, "hung", "within 3.0 s, standing at query_timeout.py:33 in fixed"),
        (Ending(-signal.SIGALRM, elapsed_s=9.0), STACK, "hung", "within 2 s, standing at query_timeout.py:33 in fixed"),
        (Ending(-signal.SIGALRM, elapsed_s=2.1), "", "hung", "did not come back within 2 s"),
        (Ending(-signal.SIGALRM), "", "died", "died: killed by SIGALRM"),
        (Ending(exceeded="memory", peak_bytes=600 << 20), "", "exhausted", "ran out of memory: 600 MiB at the peak"),
        (Ending(exceeded="processes"), "", "exhausted", "ran out of processes"),
        (Ending(-signal.SIGKILL), "", "died", "died: killed by SIGKILL"),
        (Ending(-signal.SIGSEGV), "", "died", "died: killed by SIGSEGV"),
        (Ending(0), "", "died", "died: exit status 0"),
        (Ending(3), STACK, "died", "died: exit status 3"),
        (Ending(), "", "died", "died: its warden was killed"),
    ],
)
def test_one_that_did_not_live_to_tell_is_read_from_its_ending(
    ending: Ending, stack: str, kind: str, words: str
) -> None:
    failure = failure_of(CALLED, stack=stack, ending=ending)
    assert failure.kind == kind
    assert words in str(failure)


@pytest.mark.parametrize(
    ("lines", "who"),
    [
        ([CALLED], "subject"),
        ([CALLED, RETURNED, CALLED], "subject"),
        ([CALLED, RAISED, CALLED], "subject"),
        ([], "judge"),
        ([CALLED, RETURNED], "judge"),
        ([CALLED, RAISED], "judge"),
    ],
)
def test_a_sudden_end_is_blamed_on_who_was_running(lines: list[Line], who: str) -> None:
    for ending in (Ending(-9), Ending(exceeded="time"), Ending(exceeded="memory")):
        assert failure_of(*lines, ending=ending).who == who


def test_one_that_never_loaded_is_a_flaw_and_no_failure() -> None:
    seen = observe("broken", (), "", Ending(exceeded="time"))
    assert seen.observation.flaw == "did not get past its import: ended for passing its limit of time"
    assert (seen.observation.failure, seen.prediction) == (None, None)


def test_one_that_is_no_exhibit_says_why() -> None:
    seen = observe("broken", story(("exhibit.flawed", {"what": "raised when it was imported"})), "", Ending(0))
    assert seen.observation.flaw == "raised when it was imported"


def test_one_that_left_a_process_is_flawed_whatever_came_of_it() -> None:
    seen = observe("fixed", story(LOADED, CALLED, RETURNED, ENDED), "", Ending(0, left_behind=("7 sleep 9", "8 sh")))
    assert seen.observation.flaw == "left 2 process(es) behind, which were killed: 7 sleep 9"


def test_one_that_lacks_a_server_is_missing_it() -> None:
    seen = observe("fixed", story(LOADED, ("requirement.missing", {"what": "no valkey"})), "", Ending(0))
    assert (seen.observation.missing, seen.observation.failure, seen.observation.flaw) == ("no valkey", None, "")


def test_of_much_output_the_tail_is_kept_and_said_to_be_one() -> None:
    seen = observe("fixed", story(LOADED, ENDED), "", Ending(0, output="x" * 9000 + "end", output_bytes=123_456))
    assert seen.observation.output.startswith("[the last 1500 of 123456 bytes]\n")
    assert seen.observation.output.endswith("xend")
    assert len(seen.observation.output) < 1600


@pytest.mark.parametrize("field", ["time_s", "memory_bytes", "processes", "output_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_is_a_finite_number_above_nothing(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{field} = .*finite number above 0"):
        Limits(**{field: value})  # type: ignore[arg-type] # the wrong value is the point
