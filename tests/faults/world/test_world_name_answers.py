"""What a broken name server says, without a socket."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.faults.dns.answers import CODES, KINDS, Question, answer, known, on_loopback

LABELS = st.lists(st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True), min_size=1, max_size=4)


def query(labels: list[str], kind: int, number: int = 7) -> bytes:
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", kind, 1)


@given(LABELS, st.sampled_from([1, 28, 15]), st.integers(0, 65535), st.binary(max_size=20))
def test_a_question_is_read_as_it_was_asked(labels: list[str], kind: int, number: int, more: bytes) -> None:
    raw = query(labels, kind, number)
    question = Question.read(raw + more)
    assert question is not None
    assert (question.name, question.kind, question.end) == (".".join(labels), kind, len(raw))


@given(LABELS, st.sampled_from([1, 28]), st.sampled_from(KINDS), st.sampled_from(["", "127.0.0.2", "::1"]))
def test_every_answer_belongs_to_its_question(labels: list[str], kind: int, how: str, address: str) -> None:
    raw = query(labels, kind)
    question = Question.read(raw)
    assert question is not None
    said = answer(question, how, address)
    if how == "TIMEOUT":
        assert said is None
        return
    assert said is not None
    number, flags, questions, answers, *_ = struct.unpack_from("!HHHHHH", said)
    assert (number, flags >> 15, questions) == (7, 1, 1)
    assert flags & 0xF == CODES.get(how, 0)
    assert bool(flags & 0x0200) == (how == "TRUNCATED")
    assert said[12 : len(raw)] == raw[12:]
    fits = how == "NOERROR" and {1: "127.0.0.2", 28: "::1"}[kind] == address
    assert answers == fits
    assert len(said) == len(raw) + ({1: 16, 28: 28}[kind] if fits else 0)


@given(st.binary(max_size=100))
def test_junk_is_no_question_and_no_crash(junk: bytes) -> None:
    question = Question.read(junk)
    if question is not None:
        assert answer(question, "SERVFAIL")


@given(LABELS, st.integers(0, 200))
def test_half_a_question_is_none(labels: list[str], keep: int) -> None:
    raw = query(labels, 1)
    assert keep >= len(raw) or Question.read(raw[:keep]) is None


@pytest.mark.parametrize("address", ["", "8.8.8.8", "localhost", "10.0.0.1", "::2"])
def test_names_are_led_to_loopback_alone(address: str) -> None:
    with pytest.raises(FaultError, match="no address of loopback"):
        on_loopback(address)


def test_what_no_server_answers_is_refused() -> None:
    with pytest.raises(FaultError, match="choose one of"):
        known("MAYBE")
