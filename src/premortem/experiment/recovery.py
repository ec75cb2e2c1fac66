"""How long a system was away: time to detect, to recover after removal, to recover while the fault stays. Pure.

Laws:
- Measured by a probe that began before the fault: what was not seen healthy before cannot be said to have recovered.
- Recovered means that it stayed so: `STEADY` good probes in a row and no bad one after them.
- Every time is the end of a probe, so it is late by one interval and one answer at most, and never early.

Terms: MTTD and MTTR of the trade are `detected_s` and `after_removal_s`. The paired run without a fault is that of
Netflix's ChAP: what fails in both is not the fault's doing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from premortem.experiment.judgement import Answer, Judgement

STEADY = 3
TOLD_LATE_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One probe, on the monotonic clock, in seconds; `said` is why it failed."""

    began_s: float
    ended_s: float
    ok: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a probe saw around one fault. `removed_s` is None while it stays. All on one monotonic clock, in seconds."""

    samples: tuple[Sample, ...]
    struck_s: float
    removed_s: float | None = None

    @property
    def was_healthy(self) -> bool:
        """Whether the last `STEADY` probes before the fault were good.

        A strike is told when it has taken effect, so bad probes of the last `TOLD_LATE_S` before it are its doing.
        """
        before = [one for one in self.samples if one.ended_s <= self.struck_s]
        while before and not before[-1].ok and before[-1].began_s > self.struck_s - TOLD_LATE_S:
            before.pop()
        return len(before) >= STEADY and all(one.ok for one in before[-STEADY:])

    @property
    def detected_s(self) -> float | None:
        """From the fault to the end of the first probe that failed; None where none did."""
        failed = self._failed
        return failed[0].ended_s - self.struck_s if failed else None

    @property
    def while_in_s(self) -> float | None:
        """From the fault to the first good answer of a steady run while the fault was still in; None without one."""
        until = self._observed_until if self.removed_s is None else self.removed_s
        back = _steady_from([one for one in self._during if one.ended_s <= until], self._failed)
        return None if back is None else back - self.struck_s

    @property
    def after_removal_s(self) -> float | None:
        """From the removal to the first good answer after the last bad one; 0 if it was back before, None if never."""
        if self.removed_s is None:
            return None
        back = _steady_from(self._during, self._failed)
        return None if back is None else max(0.0, back - self.removed_s)

    @property
    def observed_s(self) -> float:
        """For how long it was watched after the removal, or after the fault where that stays."""
        return max(0.0, self._observed_until - (self.struck_s if self.removed_s is None else self.removed_s))

    @property
    def failed_share(self) -> float:
        """The share of the probes since the fault that failed, from 0 to 1; 0 where there were none."""
        return len(self._failed) / len(self._during) if self._during else 0.0

    @property
    def answer_s(self) -> float | None:
        """The median time of the good answers since the fault, in seconds; None where there were none."""
        took = [one.ended_s - one.began_s for one in self._during if one.ok]
        return statistics.median(took) if took else None

    def within(self, seconds: float) -> Judgement:
        """Judge: back within `seconds` of the removal, or of the fault where that stays."""
        invariant, took = f"recovered within {seconds:g} s", self._took
        if not self.was_healthy:
            return Judgement(invariant, Answer.UNKNOWN, f"it was not seen healthy before the fault ({self})")
        if took is not None:
            return Judgement(invariant, Answer.HOLDS if took <= seconds else Answer.BROKEN, str(self))
        watched_long_enough = self.observed_s >= seconds
        return Judgement(invariant, Answer.BROKEN if watched_long_enough else Answer.UNKNOWN, str(self))

    @property
    def _took(self) -> float | None:
        return self.while_in_s if self.removed_s is None else self.after_removal_s

    @property
    def _during(self) -> list[Sample]:
        return [one for one in self.samples if one.ended_s > self.struck_s]

    @property
    def _failed(self) -> list[Sample]:
        return [one for one in self._during if not one.ok]

    @property
    def _observed_until(self) -> float:
        return max((one.ended_s for one in self.samples), default=self.struck_s)

    def __str__(self) -> str:
        removal = (
            "the fault stays" if self.removed_s is None else f"removed after {self.removed_s - self.struck_s:.3f} s"
        )
        return (
            f"detected {_after(self.detected_s)}, {removal}, back after removal {_after(self.after_removal_s)}, "
            f"while in {_after(self.while_in_s)}; {len(self._failed)} of {len(self._during)} probes failed"
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """A time over repetitions, in seconds; `never` counts the repetitions that did not come to it."""

    times: tuple[float, ...]
    never: int = 0

    @classmethod
    def of(cls, times: Sequence[float | None]) -> Spread:
        """Of repetitions in any order."""
        return cls(tuple(sorted(one for one in times if one is not None)), sum(one is None for one in times))

    def __str__(self) -> str:
        never = f", never in {self.never}" if self.never else ""
        if not self.times:
            return f"never in {self.never}"
        low, middle, high = self.times[0], statistics.median(self.times), self.times[-1]
        return f"{middle:.3f} s [{low:.3f} .. {high:.3f}] in {len(self.times)}{never}"


@dataclass(frozen=True, slots=True)
class Repetitions:
    """The same fault several times, and the same number of runs without it, if they were made."""

    runs: tuple[Recovery, ...]
    control: tuple[Recovery, ...] = ()

    @property
    def extra_failures(self) -> float:
        """By how much the share of failed probes is above that of the runs without a fault, from -1 to 1."""
        return _mean([one.failed_share for one in self.runs]) - _mean([one.failed_share for one in self.control])

    @property
    def extra_answer_s(self) -> float:
        """By how much good answers took longer than in the runs without a fault, in seconds; of runs that had any."""
        struck, quiet = ([one.answer_s for one in runs] for runs in (self.runs, self.control))
        return _mean([one for one in struck if one is not None]) - _mean([one for one in quiet if one is not None])

    def within(self, seconds: float) -> Judgement:
        """Judge every run, the worst wins; where the runs without a fault fail too, that is not enough evidence."""
        invariant = f"recovered within {seconds:g} s, {len(self.runs)} times"
        if ailing := [one for one in self.control if one.failed_share]:
            return Judgement(invariant, Answer.UNKNOWN, f"without a fault it failed too: {ailing[0]}")
        judged = [one.within(seconds) for one in self.runs]
        worst = max((one.answer for one in judged), key=list(Answer).index, default=Answer.UNKNOWN)
        first = next((one.evidence for one in judged if one.answer is worst), "no run was made")
        return Judgement(invariant, worst, str(self) if worst is Answer.HOLDS else f"{first}\n{self}")

    def __str__(self) -> str:
        rows = {
            "time to detect": Spread.of([one.detected_s for one in self.runs]),
            "to recover after removal": Spread.of([one.after_removal_s for one in self.runs]),
            "to recover while it stays": Spread.of([one.while_in_s for one in self.runs]),
        }
        lines = [f"{name:<26} {spread}" for name, spread in rows.items()]
        if self.control:
            beside = f"{self.extra_failures:+.1%} failed, {self.extra_answer_s * 1000:+.1f} ms an answer"
            lines.append(f"{'beside runs without fault':<26} {beside}")
        return "\n".join(lines)


def _steady_from(seen: Sequence[Sample], failed: Sequence[Sample]) -> float | None:
    """The end of the first good answer after the last bad one, if enough good ones follow; None otherwise."""
    last_bad = max((number for number, one in enumerate(seen) if one in failed), default=-1)
    good = seen[last_bad + 1 :]
    return good[0].ended_s if len(good) >= STEADY else None


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"in {seconds:.3f} s"


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
