"""What may be predicted, and which failures a prediction recognises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError, Exhausted, Hung, Violated
from premortem.model import Failure, Prediction
from premortem.model.prediction import qualified_name


class TornError(json.JSONDecodeError):
    """A subclass of what is predicted."""


def raised(kind: type[BaseException], message: str = "m") -> Failure:
    kinds = tuple(qualified_name(base) for base in kind.__mro__)
    return Failure("raised", qualified_name(kind), message, kinds)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (KeyError, Prediction("raised", "builtins.KeyError")),
        (json.JSONDecodeError, Prediction("raised", "json.decoder.JSONDecodeError")),
        (SystemExit, Prediction("raised", "builtins.SystemExit")),
        (Violated("charged twice"), Prediction("violated", "charged twice")),
        (Violated("charged twice", "2 of 1"), Prediction("violated", "charged twice")),
        (Hung(after_s=2), Prediction("hung", after_s=2)),
        (Exhausted("memory"), Prediction("exhausted", "memory")),
    ],
)
def test_what_an_exhibit_may_write(written: object, read: Prediction) -> None:
    assert Prediction.of(written) == read


@pytest.mark.parametrize(
    "nonsense",
    [None, 1, "KeyError", KeyError("x"), Violated, Hung, Exhausted, int, [KeyError], Exception, BaseException],
)
def test_nonsense_is_refused_with_what_to_write_instead(nonsense: object) -> None:
    with pytest.raises(ConfigurationError, match="write a type"):
        Prediction.of(nonsense)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_hang_lasts_longer_than_nothing(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        Hung(after_s=seconds)


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        (json.JSONDecodeError, raised(json.JSONDecodeError)),
        (json.JSONDecodeError, raised(TornError)),
        (ValueError, raised(TornError)),
        (Violated("charged twice"), Failure("violated", "charged twice", "2 of 1")),
        (Hung(after_s=2), Failure("hung", "", "did not come back")),
        (Exhausted("memory"), Failure("exhausted", "memory", "1024 MiB")),
    ],
)
def test_a_prediction_matches_its_own_failure(written: object, failure: Failure) -> None:
    assert Prediction.of(written).matches(failure)


@pytest.mark.parametrize(
    ("written", "failure"),
    [
        (TornError, raised(json.JSONDecodeError)),
        (KeyError, raised(IndexError)),
        (KeyError, Failure("violated", "builtins.KeyError")),
        (KeyError, Failure("died", "killed by SIGKILL")),
        (Violated("charged twice"), Failure("violated", "charged thrice")),
        (Violated("memory"), Failure("exhausted", "memory")),
        (Hung(after_s=2), Failure("died", "exit status 1")),
        (Exhausted("memory"), Failure("exhausted", "processes")),
    ],
)
def test_a_prediction_matches_no_other_failure(written: object, failure: Failure) -> None:
    assert not Prediction.of(written).matches(failure)


@given(st.text())
def test_an_invariant_is_recognised_whatever_its_words(words: str) -> None:
    assert Prediction.of(Violated(words)).matches(Failure("violated", words))


@pytest.mark.parametrize("written", [KeyError, Violated("x"), Hung(after_s=2), Exhausted("memory")])
def test_a_prediction_reads_as_half_a_sentence(written: object) -> None:
    assert str(Prediction.of(written)).split()[0] in {"raises", "violates", "hangs", "runs"}


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure("raised", "builtins.KeyError", "'x'"), "raised KeyError: 'x'"),
        (Failure("raised", "builtins.KeyError"), "raised KeyError"),
        (Failure("violated", "one charge", "2 of 1"), "violated “one charge”: 2 of 1"),
        (Failure("hung", "", "did not come back within 2 s"), "did not come back within 2 s"),
        (Failure("exhausted", "memory"), "ran out of memory"),
        (Failure("died", "killed by SIGKILL"), "died: killed by SIGKILL"),
    ],
)
def test_a_failure_reads_as_the_other_half(failure: Failure, words: str) -> None:
    assert str(failure) == words
