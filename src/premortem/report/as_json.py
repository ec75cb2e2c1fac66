"""The whole run as one JSON document, for programs.

    {"format": "premortem.run", "version": 1,
     "verdict": "GUARD_FAILED", "exit_code": 1, "complete": true, "elapsed_s": 12.5,
     "counts": {"PROVEN": 4, "SKIPPED": 0, ... all six},
     "run": {...}}

`run` is the model as `premortem.model.codec` writes it: `decode(Run, document["run"])` gives the same `Run` back.
Fields that hold their default are left out of it; what is derived stands at the top. The text is plain ASCII.
`version` rises when a field changes its meaning or goes; a reader has to skip fields that it does not know.
"""

from __future__ import annotations

import json

from premortem.model import Run, Verdict
from premortem.model.codec import Json, encode

VERSION = 1


def render(run: Run) -> str:
    """The document, indented, with a line feed at its end."""
    counted = dict(run.counts)
    document: dict[str, Json] = {
        "format": "premortem.run",
        "version": VERSION,
        "verdict": run.verdict.value,
        "exit_code": run.exit_code,
        "complete": run.ended == "complete",
        "elapsed_s": run.elapsed_s,
        "counts": {verdict.value: counted.get(verdict, 0) for verdict in Verdict},
        "run": encode(run),
    }
    return json.dumps(document, indent=2) + "\n"
