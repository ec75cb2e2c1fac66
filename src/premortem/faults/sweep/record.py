"""The record of a sweep on disk: one JSON object a line, written as it goes, so a killed sweep keeps what it had.

The first line is the head with the format's version, the next the clean run, then one a trial, then the end.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from premortem.errors import ConfigurationError
from premortem.model.codec import Json, decode, encode
from premortem.model.sweep import Sweep, Trial

VERSION = 1
FILE = "sweep.jsonl"


class RecordWriter:
    """Appends to a record; every line is flushed to the system before the call returns."""

    def __init__(self, stream: TextIO, head: Sweep) -> None:
        self._stream = stream
        self._write({"sweep": VERSION, "head": encode(head)})

    def planned(self, sweep: Sweep) -> None:
        """The clean run is known, and how many points there are."""
        self._write({"head": encode(replace(sweep, trials=()))})

    def trial(self, trial: Trial) -> None:
        """Add one."""
        self._write({"trial": encode(trial)})

    def end(self, sweep: Sweep) -> None:
        """Say how it ended."""
        self._write({"head": encode(replace(sweep, trials=()))})

    def _write(self, record: Json) -> None:
        self._stream.write(json.dumps(record, separators=(",", ":")) + "\n")
        self._stream.flush()


def read(path: Path) -> Sweep:
    """The sweep that a record tells; the last head is the latest. ConfigurationError where it is not a record."""
    head: Json = None
    trials = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # a torn last line is the mark of a kill
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ConfigurationError(f"{path}, line {number}: not JSON ({error}); the record is damaged") from error
        if number == 1 and record.get("sweep") != VERSION:
            raise ConfigurationError(f"{path}: is not the record of a sweep that this premortem reads; name a {FILE}")
        head = record.get("head", head)
        if "trial" in record:
            trials.append(decode(Trial, record["trial"], f"line {number}"))
    if head is None:
        raise ConfigurationError(f"{path}: is empty; name the {FILE} of a sweep")
    return replace(decode(Sweep, head, "the head"), trials=tuple(trials))
