"""Whatever bytes come, cut wherever: nothing is lost without a strike, and a strike does not depend on the cuts."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.proxy.protocols import Action, Conversation, Cut, Direction, Pass, Reply, Script, Seen, Wait

Rehearse = Callable[..., Script]
Piece = tuple[Direction, bytes]


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


STARTUP = struct.pack(">II", 17, 196608) + b"user\0a\0\0\0"
OK_START = message(b"R", b"\0\0\0\0") + message(b"S", b"a\0b\0") + message(b"K", b"12345678") + message(b"Z", b"I")
POSTGRES: list[Piece] = [
    ("up", STARTUP),
    ("down", OK_START),
    ("up", message(b"Q", b"BEGIN\0")),
    ("down", message(b"C", b"BEGIN\0") + message(b"Z", b"T")),
    ("up", message(b"P", b"s\0INSERT INTO payments VALUES ($1)\0\0\0") + message(b"B", b"\0s\0\0\0\0\0\0\0")),
    ("up", message(b"D", b"P\0") + message(b"E", b"\0\0\0\0\0") + message(b"S")),
    ("down", message(b"1") + message(b"2") + message(b"n") + message(b"C", b"INSERT 0 1\0") + message(b"Z", b"T")),
    ("up", message(b"Q", b"SELECT 'a;b'; /* ; */ INSERT INTO payments SELECT 1\0")),
    (
        "down",
        message(b"T", b"\0\0") + message(b"D", b"x" * 500) * 3 + message(b"N", b"\0") + message(b"C", b"SELECT 3\0"),
    ),
    ("down", message(b"C", b"INSERT 0 1\0") + message(b"Z", b"T")),
    ("up", message(b"Q", b"COPY payments FROM STDIN\0")),
    ("down", message(b"G", b"\0\0\0")),
    ("up", message(b"d", b"1\n" * 50) + message(b"d", b"2\n") + message(b"c")),
    ("down", message(b"C", b"COPY 51\0") + message(b"Z", b"T")),
    ("up", message(b"Q", b"COMMIT\0") + message(b"X")),
    ("down", message(b"C", b"COMMIT\0") + message(b"Z", b"I")),
]
REDIS: list[Piece] = [
    ("up", b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
    ("down", b"%1\r\n+server\r\n$6\r\nvalkey\r\n"),
    ("up", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$700\r\n" + b"\r\n*1" * 175 + b"\r\n" + b"ping\r\n\r\n"),
    ("down", b"+OK\r\n|1\r\n+ttl\r\n:3\r\n+PONG\r\n"),
    ("up", b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n"),
    ("down", b"+OK\r\n+QUEUED\r\n*2\r\n:1\r\n*-1\r\n"),
    ("up", b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
    ("down", b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"),
    ("down", b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\r\n\r\n$2\r\n\r\n\r\n"),
]
HTTP: list[Piece] = [
    ("up", b"\r\nGET /a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (
        "down",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nContent-Type: application/json\r\n\r\n" + b'{"id":1,"name":"id"}',
    ),
    ("up", b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\n\r\n\r\nx\r\n0\r\nX: y\r\n\r\n"),
    ("up", b"HEAD /a HTTP/1.1\r\n\r\nGET http://h/c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
    ("down", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("down", b'8\r\n{"id": 2\r\n1\r\n}\r\n0\r\n\r\n'),
    ("down", b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\nHTTP/1.0 200\r\nContent-Encoding: gzip\r\n\r\n"),
    ("down", gzip.compress(b'{"id": 3}', mtime=0)),
]
TALKS = {"postgres": POSTGRES, "redis": REDIS, "http": HTTP}
POINTS = {
    "postgres": [
        *(
            "COMMIT#1",
            "INSERT#1",
            "INSERT#2",
            "INSERT payments#2",
            "BEGIN#1",
            "COPY#1",
            "Query#2",
            "Execute#1",
            "Sync#1",
        ),
        *("CopyDone#1", "Parse#1", "StartupMessage#1"),
    ],
    "redis": ["SET#1", "SET a#1", "PING#1", "INCR#1", "EXEC#1", "GET#1", "HELLO#1", "MULTI#1+"],
    "http": ["GET /a#1", "POST *#1", "* /a#2", "GET /c#1", "* *#1+", "* *#3"],
}
EFFECTS = {
    "postgres": ["cut", "close", "delay 2", "error 40001", "error 57P01"],
    "redis": ["cut", "close", "delay 2", "error OOM no", "nil"],
    "http": [
        *("cut", "close", "delay 2", "status 503 Retry-After: 1", "html", "truncate", "truncate 3", "encoding gzip"),
        *("drip 3/0.5", "rename id key", "header X: y", "content-type text/csv"),
    ],
}


def chunked(pieces: list[Piece], cuts: list[int]) -> Iterator[Piece]:
    """The pieces cut into small ones, whose sizes come from `cuts`, over and over."""
    sizes = iter(cuts * 10_000)
    for direction, data in pieces:
        at = 0
        while at < len(data):
            size = next(sizes)
            yield direction, data[at : at + size]
            at += size


def other(direction: Direction) -> Direction:
    return "down" if direction == "up" else "up"


class Outcome:
    """What a conversation let through in each direction, and did otherwise, without regard to how it was cut."""

    def __init__(self) -> None:
        self.out: dict[Direction, bytes] = {"up": b"", "down": b""}
        self.told: list[tuple[str, int, int, Action]] = []
        self.seen: dict[Direction, list[Action]] = {"up": [], "down": []}
        self.cut = False

    def take(self, direction: Direction, actions: list[Action]) -> None:
        for action in actions:
            assert not self.cut, "nothing takes place after a cut"
            if isinstance(action, Pass):
                self.out[direction] += action.data
            elif isinstance(action, Reply):
                self.out[other(direction)] += action.data
            elif isinstance(action, Seen):
                assert action.direction == direction
                self.seen[direction].append(action)
            else:
                self.told.append((direction, len(self.out["up"]), len(self.out["down"]), action))
                self.cut = isinstance(action, Cut)


def play(conversation: Conversation, pieces: Iterator[Piece] | list[Piece]) -> Outcome:
    outcome = Outcome()
    for direction, data in pieces:
        if not outcome.cut:
            outcome.take(direction, conversation.feed(direction, data))
    for direction in ("up", "down"):
        if not outcome.cut:
            outcome.take(direction, conversation.end(direction))
    return outcome


def joined(pieces: list[Piece]) -> dict[Direction, bytes]:
    return {way: b"".join(data for direction, data in pieces if direction == way) for way in ("up", "down")}


cuts = st.lists(st.integers(1, 40), min_size=1, max_size=6) | st.just([1]) | st.just([10_000])


@pytest.mark.parametrize("protocol", TALKS)
@given(cuts=cuts)
def test_without_a_strike_the_bytes_are_the_same(protocol: str, rehearse: Rehearse, cuts: list[int]) -> None:
    talk = TALKS[protocol]
    plain = play(rehearse(protocol=protocol).open(), talk)
    outcome = play(rehearse(protocol=protocol).open(), chunked(talk, cuts))
    assert outcome.out == plain.out == joined(talk)
    assert outcome.seen == plain.seen
    assert not [seen for seen in outcome.seen["up"] + outcome.seen["down"] if "unreadable" in str(seen)]


@pytest.mark.parametrize("protocol", TALKS)
@given(data=st.data(), cuts=cuts)
def test_a_strike_does_not_depend_on_the_cuts(
    protocol: str, rehearse: Rehearse, data: st.DataObject, cuts: list[int]
) -> None:
    point = data.draw(st.sampled_from(POINTS[protocol]))
    effect = data.draw(st.sampled_from(EFFECTS[protocol]))
    when = data.draw(st.sampled_from(["before", "sent", "after"]))
    if when == "sent":
        effect = "cut"
    elif protocol == "http" and effect not in EFFECTS["http"][:5]:
        when = "after"
    recipe = f"{protocol}:{point}:{when}={effect}"
    plain = play(rehearse(recipe).open(), TALKS[protocol])
    outcome = play(rehearse(recipe).open(), chunked(TALKS[protocol], cuts))
    assert outcome.told == plain.told
    assert outcome.out == plain.out


@pytest.mark.parametrize("protocol", TALKS)
@given(data=st.data(), cuts=cuts)
def test_a_recording_and_a_strike_count_alike(
    protocol: str, rehearse: Rehearse, data: st.DataObject, cuts: list[int]
) -> None:
    """Each point that a recording tells is there to be struck, and nothing has gone out in its direction before it."""
    seen = play(rehearse(protocol=protocol).open(), TALKS[protocol]).seen
    point = data.draw(st.sampled_from(seen["up"] + seen["down"]))
    assert isinstance(point, Seen)
    outcome = play(rehearse(f"{point.point}=close").open(), chunked(TALKS[protocol], cuts))
    assert outcome.cut
    told = [action for _, _, _, action in outcome.told]
    assert str(told[0]).startswith(f"Hit(recipe='{point.point}=close'")


@pytest.mark.parametrize("protocol", TALKS)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(["up", "down"]), st.binary(max_size=60)), max_size=12),
    start=st.integers(0, 16),
    cuts=cuts,
    record=st.booleans(),
)
def test_bytes_that_are_no_protocol_pass_untouched(  # noqa: PLR0913, PLR0917 - what is drawn, and the fixture
    protocol: str, rehearse: Rehearse, pieces: list[Piece], start: int, cuts: list[int], record: bool
) -> None:
    pieces = [*TALKS[protocol][:start], *pieces]
    recipes = () if record else (f"{protocol}:{POINTS[protocol][0].replace('#1', '#99')}=close",)
    outcome = play(rehearse(*recipes, protocol=protocol).open(), chunked(pieces, cuts))
    assert outcome.out == joined(pieces)
    assert sum("unreadable" in str(seen) for seen in outcome.seen["up"] + outcome.seen["down"]) <= 1


@pytest.mark.parametrize("protocol", TALKS)
@given(
    data=st.data(),
    junk=st.lists(st.tuples(st.sampled_from(["up", "down"]), st.binary(max_size=30)), max_size=4),
    cuts=cuts,
)
def test_no_strike_raises_on_junk(
    protocol: str, rehearse: Rehearse, data: st.DataObject, junk: list[Piece], cuts: list[int]
) -> None:
    talk = list(TALKS[protocol])
    for piece in junk:
        talk.insert(data.draw(st.integers(0, len(talk))), piece)
    effect = data.draw(st.sampled_from(EFFECTS[protocol]))
    outcome = play(
        rehearse(f"{protocol}:{data.draw(st.sampled_from(POINTS[protocol]))}:after={effect}").open(),
        chunked(talk, cuts),
    )
    assert all(wait.seconds >= 0 for *_, wait in outcome.told if isinstance(wait, Wait))


@given(
    command=st.sampled_from(
        [b"+", b"-", b":", b"_", b"#", b",", b"(", b"$", b"!", b"=", b"*", b"~", b">", b"%", b"|", b""]
    ),
    number=st.integers(-3, 9),
    rest=st.binary(max_size=40),
)
def test_any_reply_of_redis_passes(rehearse: Rehearse, command: bytes, number: int, rest: bytes) -> None:
    pieces: list[Piece] = [("up", b"ping\r\n"), ("down", command + b"%d\r\n" % number + rest)]
    assert play(rehearse("redis:Reply#9").open(), pieces).out == joined(pieces)


@pytest.mark.parametrize("protocol", TALKS)
def test_a_large_message_is_streamed(protocol: str, rehearse: Rehearse) -> None:
    large = {
        "postgres": message(b"Q", b"SELECT '" + b"x" * 1_000_000 + b"'\0"),
        "redis": b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n" + b"x" * 1_000_000 + b"\r\n",
        "http": b"PUT /a HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
    }[protocol]
    conversation = rehearse(protocol=protocol).open()
    fed = given_out = 0
    for at in range(0, len(large), 10_000):
        piece = large[at : at + 10_000]
        fed += len(piece)
        given_out += sum(len(action.data) for action in conversation.feed("up", piece) if isinstance(action, Pass))
        assert fed - given_out <= 1 << 16
    assert given_out == len(large)
