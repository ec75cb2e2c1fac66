"""A sweep as one JSON document, for programs.

    {"format": "premortem.sweep", "version": 1, "exit_code": 1, "complete": true, "inconclusive": "",
     "counts": {"VIOLATION": 3, ... all of them}, "points": 68, "left_out": 0,
     "classes": [{"name": ..., "outcome": ..., "count": 3, "first": ..., "evidence": ..., "reproduce": ...}],
     "sweep": {...}}

`sweep` is the model as `premortem.model.codec` writes it; fields that hold their default are left out of it.
"""

from __future__ import annotations

import json

from premortem.model.codec import Json, encode
from premortem.model.sweep import Outcome, Sweep

VERSION = 1


def render(sweep: Sweep) -> str:
    """The document, indented, with a line feed at its end."""
    counted = dict(sweep.counts)
    document: dict[str, Json] = {
        "format": "premortem.sweep",
        "version": VERSION,
        "exit_code": sweep.exit_code,
        "complete": sweep.ended == "complete",
        "inconclusive": sweep.inconclusive,
        "counts": {outcome.value: counted.get(outcome, 0) for outcome in Outcome},
        "points": sweep.points,
        "left_out": sweep.left_out,
        "classes": [
            {
                "name": one.name,
                "outcome": one.outcome.value,
                "count": one.count,
                "first": one.first.recipes,
                "ended": one.first.ended,
                "evidence": one.first.evidence,
                "reproduce": sweep.reproduction(one.first),
            }
            for one in sweep.classes
        ],
        "sweep": encode(sweep),
    }
    return json.dumps(document, indent=2) + "\n"
