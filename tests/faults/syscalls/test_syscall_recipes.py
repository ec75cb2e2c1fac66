"""Recipes as decisions, without a program."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.faults.syscalls import (
    GO,
    Decision,
    Drop,
    Fail,
    Kill,
    Operation,
    Pause,
    Sever,
    Short,
    decide_by,
    sequence,
)
from premortem.faults.syscalls.operations import Kind
from premortem.model.recipe import Recipe


def one(call: str, nth: int = 1, target: str = "data", kind: Kind = "file", size: int | None = 8) -> Operation:
    return Operation(nth, call, nth, target, size, kind=kind)


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("syscall:write#1", Kill()),
        ("syscall:write#1=kill", Kill()),
        ("syscall:write#1=kill all", Kill(family=True)),
        ("syscall:write#1=EIO", Fail(errno.EIO)),
        ("syscall:write#1=short", Short()),
        ("syscall:write#1=drop", Drop()),
        ("syscall:write#1=delay 0.5", Pause(0.5)),
        ("syscall:write data#1=EIO", Fail(errno.EIO)),
        ("syscall:*#1=EIO", Fail(errno.EIO)),
        ("syscall:write other#1=EIO", GO),
        ("syscall:fsync#1=EIO", GO),
        ("syscall:write#1=sever", GO),  # a file has no connection
    ],
)
def test_effects(text: str, decision: Decision) -> None:
    assert decide_by(Recipe.parse(text))(one("write")) == decision


@pytest.mark.parametrize(
    ("effect", "call", "decision"),
    [
        ("ECONNRESET", "sendto", Sever(errno.ECONNRESET)),
        ("EPIPE", "write", Sever(errno.EPIPE)),
        ("ETIMEDOUT", "recvfrom", Sever(errno.ETIMEDOUT)),
        ("EIO", "sendmsg", Sever(errno.EIO)),
        ("EINTR", "sendto", Fail(errno.EINTR)),  # passes, and the connection lives on
        ("ECONNREFUSED", "connect", Fail(errno.ECONNREFUSED)),  # there is no connection yet
        ("EMFILE", "accept", Fail(errno.EMFILE)),
        ("sever", "sendto", Sever()),
        ("sever", "connect", GO),
        ("drop", "connect", GO),
    ],
)
def test_an_errno_that_says_that_a_connection_is_broken_breaks_it(effect: str, call: str, decision: Decision) -> None:
    operation = one(call, target="127.0.0.1:5432", kind="socket")
    assert decide_by(Recipe("syscall", call, 1, effect=effect))(operation) == decision


@given(st.lists(st.sampled_from(["write", "fsync", "rename"]), max_size=30), st.integers(1, 9), st.booleans())
def test_it_counts_what_it_names(calls: list[str], nth: int, onward: bool) -> None:
    decide = decide_by(Recipe("syscall", "write", nth, onward, effect="EIO"))
    struck = [index for index, call in enumerate(calls) if decide(one(call)) != GO]
    writes = [index for index, call in enumerate(calls) if call == "write"]
    assert struck == (writes[nth - 1 :] if onward else writes[nth - 1 : nth])
    assert not decide.hit, "only what has taken effect is a hit, and the supervisor says so"


def test_names_of_variants_are_the_names_of_their_calls() -> None:
    assert decide_by(Recipe.parse("syscall:openat#1=ENOSPC"))(one("open")) == Fail(errno.ENOSPC)
    assert decide_by(Recipe.parse("syscall:pwrite64#1=short"))(one("pwrite")) == Short()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("call:shop.pay#1", "has to be of the world `syscall`"),
        ("syscall:write#1:after", "strikes before the call"),
        ("syscall:fsyc#1", "did you mean fsync?"),
        ("syscall:write#1=EIOO", "did you mean EIO?"),
        ("syscall:write#1=explode", "is no effect"),
        ("syscall:write#1=delay", "has to be seconds"),
        ("syscall:write#1=delay -1", "has to be seconds"),
        ("syscall:write#1=delay nan", "has to be seconds"),
    ],
)
def test_mistakes_are_explained(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        decide_by(Recipe.parse(text))


def test_ports_are_named_in_the_order_they_show_up() -> None:
    run = [one("connect", target=f"127.0.0.1:{port}", kind="socket") for port in (5432, 6379, 5432)]
    other = [one("connect", target=f"127.0.0.1:{port}", kind="socket") for port in (1111, 2222, 1111)]
    assert sequence(run) == sequence(other)
    assert [target for _, target in sequence(run)] == ["127.0.0.1:port1", "127.0.0.1:port2", "127.0.0.1:port1"]
