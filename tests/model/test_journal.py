"""The record on disk: everything comes back as it was, and damage is one clear error."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.model import Failure, FailureMode, Moment, Observation, Prediction, Proof, Run, Verdict
from premortem.model.codec import Json, decode, encode
from premortem.model.journal import JournalWriter, read
from premortem.model.prediction import Kind
from premortem.model.run import Fact

text = st.text(st.characters(), max_size=20)  # any character there is, halves of surrogate pairs included
seconds = st.floats(min_value=0, max_value=1e6)
moments = st.builds(Moment, seconds, text, text)
failures = st.builds(
    Failure,
    st.sampled_from(["raised", "violated", "hung", "exhausted", "died"]),
    text,
    text,
    st.lists(text, max_size=3).map(tuple),
    text,
    st.sampled_from(["subject", "judge"]),
)
predictions = st.builds(Prediction, st.sampled_from(get_args(Kind)), text, st.none() | seconds)
modes = st.builds(
    FailureMode, text, text, text, text, text, text, text, text, st.lists(text, max_size=2).map(tuple), text, text, text
)


def observations(variant: str) -> st.SearchStrategy[Observation]:
    timeline = st.lists(moments, max_size=4).map(tuple)
    return st.builds(Observation, st.just(variant), timeline, st.none() | failures, text, text, text, seconds)


proofs = st.builds(
    Proof,
    modes,
    st.sampled_from(Verdict),
    text,
    st.none() | predictions,
    observations("broken"),
    observations("fixed"),
    text,
)
facts = st.lists(st.builds(Fact, text, text), max_size=2).map(tuple)
runs = st.builds(
    Run, text, text, st.integers(0, 2**63), st.integers(1, 512), facts, st.lists(proofs, max_size=3).map(tuple),
    seconds, text,
)  # fmt: skip


def written(run: Run) -> bytes:
    stream = io.StringIO()
    journal = JournalWriter(stream, run)
    for proof in run.proofs:
        journal.proof(proof)
    journal.end(run.elapsed_s, run.ended)
    return stream.getvalue().encode()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the module: Hypothesis wants no fixture that is made anew for each of its examples."""
    return tmp_path_factory.mktemp("journal") / "journal.jsonl"


def a_run(proof_count: int = 3) -> Run:
    seen = Observation("broken", (Moment(0.1, "fault.struck", "é: x"),), Failure("violated", "one — charge"))
    fixed = Observation("fixed", elapsed_s=0.25)
    mode = FailureMode("g", "s", "g/s.py")
    proof = Proof(mode, Verdict.PROVEN, "“so”", Prediction("violated", "one — charge"), seen, fixed, "c")
    return Run("id", "2026-01-01T00:00:00+00:00", 7, 2, (Fact("python", "3"),), (proof,) * proof_count, 2.5, "complete")


def read_back(path: Path, content: bytes) -> Run:
    path.write_bytes(content)
    return read(path)


@given(run=runs)
def test_whatever_is_written_comes_back(path: Path, run: Run) -> None:
    assert read_back(path, written(run)) == run


@given(run=runs)
def test_the_codec_takes_back_what_it_gave(run: Run) -> None:
    assert decode(Run, json.loads(json.dumps(encode(run)))) == run


@given(st.data())
def test_cut_off_anywhere_it_reads_as_cut_off_with_what_it_had(path: Path, data: st.DataObject) -> None:
    run = a_run()
    content = written(run)
    head = content.index(b"\n") + 1
    cut = data.draw(st.integers(head, len(content) - 1))
    torn = read_back(path, content[:cut])
    assert torn.ended == ""
    assert torn.proofs == run.proofs[: content[head:cut].count(b"\n")]
    assert torn.exit_code == 3


def test_a_torn_letter_of_two_bytes_is_a_torn_line(path: Path) -> None:
    content = written(a_run()) + '{"proof":"é'.encode()[:-1]
    assert read_back(path, content).ended == ""


def test_a_run_that_was_cut_off_says_by_what(path: Path) -> None:
    run = read_back(path, written(replace(a_run(), ended="cut off by KeyboardInterrupt")))
    assert (run.ended, run.exit_code) == ("cut off by KeyboardInterrupt", 3)


@given(junk=st.binary(min_size=1, max_size=30).filter(lambda junk: b"\n" not in junk), line=st.integers(1, 4))
def test_damage_in_the_middle_is_one_clear_error(path: Path, junk: bytes, line: int) -> None:
    try:
        harmless = isinstance(json.loads(junk), dict)
    except ValueError:
        harmless = False
    lines = written(a_run()).split(b"\n")
    lines[line] = junk
    path.write_bytes(b"\n".join(lines))
    if harmless:
        return
    with pytest.raises(ConfigurationError, match=f"line {line + 1}.*damaged"):
        read(path)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"proof": 5}, "has to be an object"),
        ({"proof": {}}, "has to carry mode, verdict"),
        ({"proof": {"verdict": "GREAT"}}, "one of PROVEN, SKIPPED"),
        ({"proof": {"broken": {"variant": "repaired"}}}, "one of broken, fixed"),
        ({"proof": {"broken": {"variant": "broken", "timeline": 3}}}, "has to be a list"),
        ({"proof": {"reason": 3}}, "has to be a str"),
        ({"end": {"elapsed_s": True}}, "has to be a float"),
        ([1], "not an object"),
    ],
)
def test_a_record_that_does_not_fit_says_what_and_where(path: Path, record: Json, says: str) -> None:
    lines = written(a_run()).decode().split("\n")
    lines[2] = json.dumps(record)
    with pytest.raises(ConfigurationError, match=says):
        read_back(path, "\n".join(lines).encode())


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b'{"proof":{}}\n', b"hello\n", b'{"run"', b"\xff\xfe\n", b"[" * 99999 + b"\n"]
)
def test_what_is_no_journal_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        read_back(path, content)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigurationError, match="name a run's journal"):
            read(path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_version_that_it_does_not_know_is_refused(path: Path, version: Json) -> None:
    head = {**json.loads(written(a_run(0)).split(b"\n")[0]), "journal": version}
    with pytest.raises(ConfigurationError, match="read it with the premortem that wrote it"):
        read_back(path, json.dumps(head).encode() + b"\n")


def test_fields_and_records_that_it_does_not_know_are_skipped(path: Path) -> None:
    def richer(value: Json) -> Json:
        if isinstance(value, dict):
            return {"from_the_future": [1, None], **{name: richer(item) for name, item in value.items()}}
        return [richer(item) for item in value] if isinstance(value, list) else value

    lines = [json.dumps(richer(json.loads(line))) for line in written(a_run()).splitlines()]
    lines.insert(2, '{"weather":"fine"}')
    assert read_back(path, "\n".join([*lines, ""]).encode()) == a_run()


def test_every_line_is_out_of_our_hands_when_the_call_returns(tmp_path: Path) -> None:
    path, run = tmp_path / "journal.jsonl", a_run()
    with path.open("w", encoding="utf-8") as stream:
        journal = JournalWriter(stream, run)
        for count, proof in enumerate(run.proofs, 1):
            journal.proof(proof)
            assert len(read(path).proofs) == count


def test_the_codec_refuses_what_is_no_part_of_the_model() -> None:
    with pytest.raises(TypeError, match="no part of the model"):
        encode({"a": 1})
