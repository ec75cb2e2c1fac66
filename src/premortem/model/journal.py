"""The run's record on disk: one JSON object a line, written as the run goes, so a killed run keeps what it had.

The first line is the run's head with the format's version, then one line a proof, then one line for the end.
A reader skips fields it does not know, refuses a version it does not know, and takes a torn last line for what
it is: the mark of a run that was cut off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from premortem.errors import ConfigurationError
from premortem.model.codec import Json, decode, encode
from premortem.model.proof import Proof
from premortem.model.run import Fact, Run

VERSION = 1


@dataclass(frozen=True, slots=True)
class _End:
    elapsed_s: float
    ended: str
    facts: tuple[Fact, ...] = ()


class JournalWriter:
    """Appends to a journal; every line is flushed to the system before the call returns."""

    def __init__(self, stream: TextIO, head: Run) -> None:
        self._stream = stream
        self._write({"journal": VERSION, "run": encode(replace(head, proofs=()))})

    def proof(self, proof: Proof) -> None:
        """Add one proof."""
        self._write({"proof": encode(proof)})

    def end(self, elapsed_s: float, ended: str, facts: tuple[Fact, ...] = ()) -> None:
        """Say how the run ended: "complete", or what cut it off; seconds since its start; what was learned."""
        self._write({"end": encode(_End(elapsed_s, ended, facts))})

    def _write(self, record: Json) -> None:
        # ASCII: what a subject says may hold what no encoding can (half of a surrogate pair), and is kept as it was.
        self._stream.write(json.dumps(record, separators=(",", ":")) + "\n")
        self._stream.flush()


def read(path: Path) -> Run:
    """The run that a journal tells. ConfigurationError where it is not a journal or is damaged before its end."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read as a journal ({error}); name a run's journal.jsonl"
        ) from error
    *complete, torn = content.split(b"\n")
    records = [_record(path, number, line) for number, line in enumerate(complete, 1)]
    if not records or "run" not in records[0]:
        raise ConfigurationError(f"{path}: the first line is not the head of a run; name a run's journal.jsonl")
    if records[0].get("journal") != VERSION:
        raise ConfigurationError(
            f"{path}: journal version {records[0].get('journal')!r}, and this premortem reads version {VERSION}; "
            "read it with the premortem that wrote it"
        )
    run = decode(Run, records[0]["run"], "line 1")
    proofs = tuple(
        decode(Proof, record["proof"], f"line {number}")
        for number, record in enumerate(records, 1)
        if "proof" in record
    )
    ends = [decode(_End, record["end"], "the end") for record in records if "end" in record]
    end = ends[-1] if ends and not torn else _End(sum(proof.elapsed_s for proof in proofs), "")
    return replace(run, proofs=proofs, elapsed_s=end.elapsed_s, ended=end.ended, facts=run.facts + end.facts)


def _record(path: Path, number: int, line: bytes) -> dict[str, Json]:
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}, line {number}: not JSON ({error}); the journal is damaged") from error
    if not isinstance(record, dict):
        raise ConfigurationError(f"{path}, line {number}: not an object; the journal is damaged")
    return record
