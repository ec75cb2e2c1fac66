"""Nothing hung: whether every recorded operation came back in time. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from premortem.experiment.judgement import Answer, Judgement
from premortem.experiment.operations import Operation

_SHOWN = 10


def nothing_hung(operations: Iterable[Operation], *, longer_than_s: float, now_s: float) -> Judgement:
    """Judge at the moment `now_s` (monotonic, seconds): no operation took, or takes, longer than `longer_than_s`.

    One whose process was killed in it has not hung; one that is under way and still in time says nothing yet.
    """
    invariant, seen = f"nothing hung for more than {longer_than_s:g} s", tuple(operations)
    under_way = [one for one in seen if one.ended_s is None and not one.cut_off]
    slow = [one for one in seen if not one.cut_off and (one.ended_s or now_s) - one.began_s > longer_than_s]
    if slow:
        lines = [f"{one.key!r}: {one}, {_took(one, now_s)}" for one in slow[:_SHOWN]]
        return Judgement(invariant, Answer.BROKEN, "\n".join((f"{len(slow)} of {len(seen)} did", *lines)))
    if under_way or all(one.cut_off for one in seen):
        return Judgement(invariant, Answer.UNKNOWN, f"{len(under_way)} of {len(seen)} operations are still under way")
    longest = max((one.ended_s or now_s) - one.began_s for one in seen if not one.cut_off)
    return Judgement(invariant, Answer.HOLDS, f"the longest of {len(seen)} operations took {longest:.3f} s")


def _took(one: Operation, now_s: float) -> str:
    return f"under way for {now_s - one.began_s:.3f} s" if one.ended_s is None else f"{one.ended_s - one.began_s:.3f} s"
