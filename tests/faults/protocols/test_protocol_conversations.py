"""Conversations that are fed by hand: what real drivers seldom say, and what they say only in one order."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from premortem.faults.proxy.protocols import Action, Conversation, Cut, Hit, Pass, Reply, Script, Seen

Rehearse = Callable[..., Script]


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack(">I", len(body) + 4) + body


PARSE = message("P", b"\0INSERT INTO a VALUES (1)\0\0\0")
BIND = message("B", b"\0\0\0\0\0\0\0\0")
EXECUTE = message("E", b"\0\0\0\0\0")
SYNC, FLUSH = message("S"), message("H")
PARSED, BOUND, DONE = message("1"), message("2"), message("C", b"INSERT 0 1\0")
ERROR = message("E", b"SERROR\0C42P01\0Mno\0\0")
STAND_IN = message("E", b"premortem_fault\0\0\0\0\0")
FAIL = message("Q", b"EXECUTE premortem_fault\0")


def ready(status: bytes) -> bytes:
    return message("Z", status)


def kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def opened(script: Script) -> Conversation:
    """A PostgreSQL session that is taken up between two messages."""
    return script.open()


def test_sent_a_statement_waits_for_its_sync(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#1:sent"))
    assert session.feed("up", PARSE + BIND + EXECUTE) == [Pass(PARSE + BIND + EXECUTE)]
    assert kinds(session.feed("up", SYNC)) == ["Pass", "Hit", "Cut"]
    assert session.feed("up", b"more") == []
    session = opened(rehearse("postgres:Execute#1:sent"))
    assert kinds(session.feed("up", PARSE + BIND + EXECUTE)) == ["Pass", "Pass", "Hit", "Cut"]


def test_after_a_statement_whose_client_flushes_nothing_more_is_waited_for(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#1:after"))
    session.feed("up", PARSE + BIND + EXECUTE + FLUSH)
    assert kinds(session.feed("down", PARSED + BOUND + DONE)) == ["Pass", "Hit", "Cut"]
    session = opened(rehearse("postgres:INSERT#1:after"))
    session.feed("up", PARSE + BIND + EXECUTE)
    assert session.feed("down", PARSED + BOUND + DONE) == [Pass(PARSED + BOUND)]
    assert kinds(session.feed("up", FLUSH)) == ["Hit", "Cut"]
    session = opened(rehearse("postgres:INSERT#1:after=error 57P01"))
    session.feed("up", PARSE + BIND + EXECUTE)
    session.feed("down", PARSED + BOUND + DONE)
    assert kinds(session.feed("up", FLUSH)) == ["Reply", "Hit", "Cut"]


def test_a_statement_that_the_server_skips_is_not_struck(rehearse: Rehearse) -> None:
    for effect in ("after", "before=error 40001"):
        session = opened(rehearse(f"postgres:INSERT#2:{effect}"))
        session.feed("up", PARSE + BIND + EXECUTE + BIND + EXECUTE + SYNC)
        answers = PARSED + BOUND + ERROR + ready(b"I")
        out = session.feed("down", answers)
        assert b"".join(action.data for action in out if isinstance(action, Pass)) == answers
        assert "Hit" not in kinds(out)
        session.feed("up", message("Q", b"COMMIT\0"))
        assert session.feed("down", message("C", b"COMMIT\0") + ready(b"I")) == [
            Pass(message("C", b"COMMIT\0") + ready(b"I"))
        ]


def test_a_failed_statement_has_been_answered_too(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#1:after"))
    session.feed("up", PARSE + BIND + EXECUTE + SYNC)
    assert kinds(session.feed("down", PARSED + BOUND + ERROR)) == ["Pass", "Hit", "Cut"]


def test_told_late_a_pipeline_goes_on_and_the_server_fails_after_it(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#1:after=error 40001"))
    once = PARSE + BIND + EXECUTE + SYNC
    session.feed("up", once + once)
    answers = PARSED + BOUND + DONE + ready(b"T")
    told = session.feed("down", answers)
    assert kinds(told) == ["Pass", "Pass", "Hit", "Reply", "Pass"]
    assert told[3:] == [Reply(FAIL), Pass(ready(b"E"))]
    out = session.feed("down", answers + ERROR + ready(b"E") + PARSED)
    assert b"".join(action.data for action in out if isinstance(action, Pass)) == answers + PARSED


def test_told_late_a_client_that_waits_hears_when_the_server_has_failed(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#1:after=error 40001"))
    session.feed("up", message("Q", b"INSERT INTO a VALUES (1)\0"))
    told = session.feed("down", DONE + ready(b"T"))
    assert kinds(told) == ["Pass", "Hit", "Reply"]
    assert session.feed("down", ERROR + ready(b"E")) == [Pass(ready(b"E"))]


def test_a_struck_sync_fails_its_round(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:Sync#1=error 40001"))
    assert session.feed("up", PARSE + BIND + EXECUTE + SYNC) == [
        Pass(PARSE + BIND + EXECUTE),
        Pass(STAND_IN),
        Pass(SYNC),
    ]
    out = session.feed("down", PARSED + BOUND + DONE + ERROR + ready(b"I"))
    assert kinds(out) == ["Pass", "Pass", "Hit", "Pass"]


def test_a_sync_before_the_data_of_a_copy_is_not_answered(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#1:after"))
    copy = message("P", b"\0COPY a FROM STDIN\0\0\0")
    session.feed("up", copy + BIND + EXECUTE + SYNC)
    session.feed("down", PARSED + BOUND + message("G", b"\0\0\0"))
    session.feed("up", message("d", b"1\n") + message("c") + SYNC)
    session.feed("down", message("C", b"COPY 1\0") + ready(b"I"))
    session.feed("up", PARSE + BIND + EXECUTE + SYNC)
    assert kinds(session.feed("down", PARSED + BOUND + DONE)) == ["Pass"]
    assert kinds(session.feed("down", ready(b"I"))) == ["Hit", "Cut"]


@pytest.mark.parametrize(
    ("protocol", "up"),
    [
        ("postgres", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
        ("postgres", b"\0\0\0\x08\0\x02\0\0"),
        ("http", b"\x16\x03\x01\x02\0\x01"),
        ("http", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("http", b"GET /\r\n"),
        ("redis", b"\x16\x03\x01\x02\0\x01"),
        ("redis", b"*2\r\n:1\r\n"),
    ],
)
def test_another_protocol_passes_and_is_told_once(protocol: str, up: bytes, rehearse: Rehearse) -> None:
    conversation = rehearse(protocol=protocol).open()
    told = conversation.feed("up", up)
    assert Seen(f"{protocol}:unreadable#1", "up") in told
    assert [action for action in told if isinstance(action, Pass)] == [Pass(up)]
    assert conversation.feed("down", b"\0\xff") == [Pass(b"\0\xff")]
    assert conversation.feed("up", b"more") == [Pass(b"more")]
    assert conversation.end("up") == []


def test_what_the_other_direction_holds_is_given_back_when_reading_ends(rehearse: Rehearse) -> None:
    conversation = rehearse(protocol="redis").open()
    assert conversation.feed("up", b"*1\r\n$4\r\nPI") == []
    assert conversation.feed("down", b"@?") == [
        Seen("redis:unreadable#1", "down"),
        Pass(b"@?"),
        Reply(b"*1\r\n$4\r\nPI"),
    ]


def test_what_is_held_at_the_end_goes_on(rehearse: Rehearse) -> None:
    conversation = rehearse(protocol="http").open()
    assert conversation.feed("up", b"GET / HTTP/1.1\r\nHo") == []
    assert conversation.end("up") == [Pass(b"GET / HTTP/1.1\r\nHo")]


def test_after_an_upgrade_it_is_another_protocol(rehearse: Rehearse) -> None:
    for request, answer in (
        (b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n\x81\x05hello"),
        (b"CONNECT shop:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n\x16\x03"),
    ):
        conversation = rehearse("http:GET *#2").open()
        conversation.feed("up", request)
        assert conversation.feed("down", answer) == [Pass(answer)]
        assert conversation.feed("up", b"GET /chat HTTP/1.1\r\n\r\n") == [Pass(b"GET /chat HTTP/1.1\r\n\r\n")]


def test_lines_without_carriage_returns_are_lines(rehearse: Rehearse) -> None:
    conversation = rehearse("http:GET /a#1=status 503").open()
    told = conversation.feed("up", b"GET /a HTTP/1.0\nHost: x\n\n")
    assert kinds(told) == ["Reply", "Hit"]


def test_an_answer_that_was_replaced_is_swallowed_to_its_end(rehearse: Rehearse) -> None:
    conversation = rehearse("http:GET /a#1:after=status 500").open()
    conversation.feed("up", b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    first = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
    assert kinds(conversation.feed("down", first)) == ["Pass", "Hit"]
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"
    assert conversation.feed("down", b"0\r\n\r\n" + second) == [Pass(second)]


def test_a_made_up_answer_waits_for_the_end_of_the_one_before(rehearse: Rehearse) -> None:
    conversation = rehearse("http:GET /b#1=status 500").open()
    conversation.feed("up", b"GET /a HTTP/1.1\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"
    assert conversation.feed("down", head) == [Pass(head)]
    assert conversation.feed("up", b"GET /b HTTP/1.1\r\n\r\n") == []
    told = conversation.feed("down", b"a")
    assert kinds(told) == ["Pass", "Pass", "Hit"]
    assert told[0] == Pass(b"a")


def test_a_monitor_is_not_read_any_more(rehearse: Rehearse) -> None:
    conversation = rehearse("redis:GET#1").open()
    conversation.feed("up", b"*1\r\n$7\r\nMONITOR\r\n")
    assert conversation.feed("down", b"+OK\r\n+1 [0] GET a\r\n?") == [Pass(b"+OK\r\n+1 [0] GET a\r\n?")]


def test_onward_it_strikes_every_one_and_on_every_connection(rehearse: Rehearse) -> None:
    script = rehearse("redis:GET#2+")
    one, other = script.open(), script.open()
    assert kinds(one.feed("up", b"get a\r\n")) == ["Pass"]
    assert kinds(other.feed("up", b"get a\r\n")) == ["Hit", "Cut"]
    (hit, cut) = one.feed("up", b"get a\r\n")
    assert hit == Hit("redis:GET#2+", "GET number 3 did not reach the server; the connection was reset")
    assert cut == Cut(reset=True)


@pytest.mark.parametrize("recipes", [("SET a#1=close", "SET#1=cut", "SET#1=nil"), ("SET#1+=close", "SET a#1=nil")])
def test_where_recipes_meet_the_first_that_was_given_strikes(recipes: tuple[str, ...], rehearse: Rehearse) -> None:
    conversation = rehearse(*(f"redis:{recipe}" for recipe in recipes)).open()
    hit, cut = conversation.feed("up", b"set a 1\r\n")
    assert isinstance(hit, Hit)
    assert hit.recipe == f"redis:{recipes[0]}"
    assert cut == Cut(reset=False)


def test_what_is_sent_after_an_error_is_skipped_up_to_the_sync(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:INSERT#3:after=delay 1", "postgres:Sync#2:after"))
    session.feed("up", PARSE + BIND + EXECUTE)
    session.feed("down", PARSED + ERROR)
    session.feed("up", message("Q", b"INSERT INTO a VALUES (1)\0") + SYNC)
    session.feed("down", ready(b"I"))
    session.feed("up", BIND + EXECUTE + SYNC)
    assert kinds(session.feed("down", BOUND)) == ["Pass"]
    assert kinds(session.feed("down", DONE)) == ["Hit", "Wait", "Pass"]
    assert kinds(session.feed("down", ready(b"I"))) == ["Hit", "Cut"]


def test_a_sync_after_the_data_of_a_copy_is_answered(rehearse: Rehearse) -> None:
    session = opened(rehearse("postgres:Sync#2:after"))
    session.feed("up", message("P", b"\0COPY a FROM STDIN\0\0\0") + BIND + EXECUTE + SYNC)
    session.feed("down", PARSED + BOUND + message("G", b"\0\0\0"))
    session.feed("up", message("d", b"1\n") + message("c") + SYNC)
    assert kinds(session.feed("down", message("C", b"COPY 1\0") + ready(b"I"))) == ["Pass", "Hit", "Cut"]


def test_each_channel_is_confirmed(rehearse: Rehearse) -> None:
    conversation = rehearse("redis:PING#1:after=error NO").open()
    conversation.feed("up", b"subscribe a b\r\nping\r\n")
    confirmed = b"".join(b"*3\r\n$9\r\nsubscribe\r\n$1\r\n%b\r\n:1\r\n" % name for name in (b"a", b"b"))
    unasked = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
    assert conversation.feed("down", confirmed + unasked) == [Pass(confirmed + unasked)]
    told = conversation.feed("down", b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    assert told[0] == Pass(b"-NO\r\n")
    assert kinds(told) == ["Pass", "Hit"]


def test_a_request_is_not_answered_before_it_is_complete(rehearse: Rehearse) -> None:
    conversation = rehearse("http:POST /b#1=status 500").open()
    conversation.feed("up", b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nx")
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert conversation.feed("down", answer) == [Pass(answer)]
    assert kinds(conversation.feed("up", b"y")) == ["Reply", "Hit"]
