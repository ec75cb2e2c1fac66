"""Any value gives one line that parses, of a bounded length, and a secret never appears in it."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import math
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.observe.logging.json_log import JsonLog
from premortem.observe.logging.line import HEAD, rendered
from premortem.observe.logging.redaction import HIDDEN, Redaction
from premortem.observe.logging.repeats import Counting, Kind, Repeats
from premortem.observe.logging.values import Bounds, plain, shortened
from premortem.ports import ManualClock

Strict = Callable[[bytes], dict[str, object]]
NOTHING = Redaction(environment={})
SMALL = Bounds(characters=50, items=5, depth=3, values=40)


looking: list[bool] = []  # Hypothesis, too, looks at what it has made, and is to be spared


class Hostile:
    def __repr__(self) -> str:
        if not looking:
            return "Hostile()"
        raise RuntimeError("do not look at me")


class Endless(dict[str, object]):
    def items(self) -> Iterator[tuple[str, object]]:  # type: ignore[override]
        yield "a", 1
        while looking:
            yield "a", 1


class Colour(Enum):
    RED = "red"


ODD = [Hostile(), Endless(), Colour.RED, Path("a\udcff"), object(), Hostile, iter(()), 10**5000]
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
    | st.integers(0, 7).map(lambda number: ODD[number]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=())) | st.integers() | st.none() | st.binary(), inner
        )
        | st.tuples(inner, inner)
        | st.builds(ValueError, inner)
    ),
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), anything), anything)
@settings(max_examples=400, deadline=None)
@example({"time": 1, "time_": 2, "event": math.nan}, "\u2028\x85\x1b[2J\x9b\x00")
def test_any_value_gives_one_line_that_parses(fields: dict[str, object], event: object) -> None:
    for bounds in (Bounds(), SMALL):
        looking.append(True)
        try:
            made = rendered({"time": "t", "event": event}, fields, bounds=bounds, redaction=NOTHING, most_bytes=1024)
        finally:
            looking.clear()
        found = strictly_read(made.line)
        assert len(made.line) <= 1024
        assert set(found) >= {"time", "event"} or bounds is SMALL
        assert made.shortened == ("cut_from_bytes" in found) or "cut_from_bytes" in fields


def strictly_read(line: bytes) -> dict[str, object]:
    text = line.decode()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    found = json.loads(text, parse_constant=pytest.fail)
    json.dumps(found, ensure_ascii=False).encode()
    assert isinstance(found, dict)
    return found


@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=5, max_size=5))
@settings(deadline=None)
def test_the_head_is_kept_whatever_else_has_to_go(texts: list[str]) -> None:
    head = dict(zip(("level", "event", "logger", "service", "correlation"), (10 * text for text in texts), strict=True))
    time = "2026-01-01T00:00:00.000000Z"
    big = {f"k{number}": "x" * 9000 for number in range(50)}
    made = rendered({"time": time, **head}, big, bounds=Bounds(), redaction=NOTHING, most_bytes=1024)
    found = strictly_read(made.line)
    assert found["time"] == time
    assert set(HEAD) - {"process"} <= set(found)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        pytest.param(10**5000, "<int of 16610 bits>", id="huge"),
        (True, True),
        (Colour.RED, "red"),
        (Decimal("1.50"), "1.50"),
        (UUID("88711b68-2bfe-42eb-a9d1-03af3cbd2da1"), "88711b68-2bfe-42eb-a9d1-03af3cbd2da1"),
        (b"caf\xe9", "caf\\xe9"),
        ("a\udcff", "a\\udcff"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (ValueError("no"), {"type": "ValueError", "message": "no"}),
        (Hostile(), "<Hostile: RuntimeError when it was looked at>"),
        ({1: "a", "1": "b"}, {"1": "a", "1 (2)": "b"}),
        (range(10**9), "range(0, 1000000000)"),
        ({"x"}, ["x"]),
    ],
)
def test_a_value_is_written_as_people_read_it(value: object, written: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.looking", [True]) if isinstance(value, Hostile) else None
    assert plain(value, Bounds(), NOTHING) == written


def test_what_is_too_much_says_how_much() -> None:
    assert plain("x" * 60, SMALL, NOTHING) == "x" * 50 + "… (10 more characters)"
    assert plain(list(range(8)), SMALL, NOTHING) == [0, 1, 2, 3, 4, "… 3 more"]
    assert plain({"a": {"b": {"c": {"d": 1}}}}, SMALL, NOTHING) == {"a": {"b": {"c": "<dict of 1>"}}}


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert plain(loop, SMALL, NOTHING) == [[["<list of 1>"]]]


def test_a_generator_is_not_consumed() -> None:
    numbers = iter([1, 2])
    plain({"rows": numbers}, Bounds(), NOTHING)
    assert list(numbers) == [1, 2]


@dataclasses.dataclass
class Account:
    user: str
    password: str
    note: str = dataclasses.field(default="", repr=False)


secrets = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="\"'<>\\\x85"), min_size=6)


def hidden(secret: str, value: object, redaction: Redaction = NOTHING) -> dict[str, object]:
    marked = f"Zq{secret}qZ"
    made = rendered(
        {"time": "t", "event": "e"}, {"value": value}, bounds=Bounds(), redaction=redaction, most_bytes=1 << 16
    )
    text = json.dumps(json.loads(made.line), ensure_ascii=False)
    assert marked not in text
    assert "Zq" not in text or "Zq" in secret
    return strictly_read(made.line)


@given(secrets, st.sampled_from(["password", "DB_PASSWORD", "apiKey", "x-api-key", "Authorization", "clientSecret"]))
@settings(deadline=None)
def test_a_secret_under_a_telling_name_never_appears(secret: str, name: str) -> None:
    marked = f"Zq{secret}qZ"
    for value in (
        {name: marked},
        {"a": [{name: [marked, {"b": marked}]}]},
        [(name, marked)],
        [(name.encode(), marked.encode())],
        Account("u", marked, note=marked),
        f"connecting with {name}={marked}",
        f"connecting with {name}: {marked} to it",
        json.dumps({name: marked, "b": 1}),
        json.dumps({name: marked}, ensure_ascii=False),
        repr({name: marked}),
        json.dumps(json.dumps({name: marked}, ensure_ascii=False), ensure_ascii=False),
        f"?a=1&{name}={quote(marked)}&b=2".replace(quote(marked), marked),
        ValueError(f"{name}={marked}"),
        repr(Account("u", marked)),
    ):
        hidden(secret, value)


@given(secrets, st.text(st.characters(categories=["L"]), max_size=5))
@settings(deadline=None)
@example("000000", "SID")
def test_a_password_in_a_url_never_appears(secret: str, user: str) -> None:
    marked = f"Zq{secret}qZ"
    for scheme in ("postgres", "redis", "https", "amqp"):
        for url in (f"{scheme}://{user}:{marked}@host:5432/db", f"{scheme}://{user}:{quote(marked, safe='')}@host"):
            found = hidden(secret, f"could not connect to {url}: timeout")
            assert "host" in str(found["value"]) or NOTHING.hides(
                user
            )  # a user "pass": rather too much than too little
            hidden(secret, {"url": url, "urls": [url]})


@given(st.text(min_size=6, max_size=40), st.integers(0, 9000), st.integers(0, 9000))
@settings(deadline=None, max_examples=200)
def test_a_registered_secret_never_appears_wherever_it_stands(secret: str, before: int, after: int) -> None:
    marked = f"Zq{secret}qZ"
    redaction = Redaction(secrets=[marked], environment={})
    coded = base64.b64encode(marked.encode("utf-8", "surrogatepass")).decode()
    for value in (
        marked,
        "-" * before + marked + "-" * after,
        marked.encode("utf-8", "backslashreplace"),
        {marked: 1},
        f"?q={quote(marked, safe='')}",
        [repr(marked)],
        f"Basic {coded}",
        ValueError(marked),
    ):
        found = hidden(secret, value, redaction)
        assert coded.rstrip("=") not in str(found)


def test_half_a_secret_is_not_left_at_the_cut() -> None:
    redaction = Redaction(secrets=["Zq-supersecret-qZ"], environment={})
    for before in range(8192 - 20, 8192 + 5):
        text = "-" * before + "Zq-supersecret-qZ" + "-" * 20000
        written = plain(text, Bounds(), redaction)
        assert isinstance(written, str)
        assert "Zq" not in written


@pytest.mark.parametrize("end", [False, True])
def test_what_is_hidden_does_not_move_the_cut_into_a_secret(end: bool) -> None:
    redaction = Redaction(secrets=["Zq-supersecret-qZ"], environment={})
    tokens = 3 * ("sk-" + "a1" * 2000 + " ")  # they shrink, and what stood far beyond the cut moves before it
    for before in range(4350, 4400):
        text = f"{tokens}{'-' * before}Zq-supersecret-qZ{'-' * 20000}"
        written = (
            shortened(f"{'-' * 20000}Zq-supersecret-qZ{'-' * before}{tokens}", 8192, redaction, end=True)
            if end
            else shortened(text, 8192, redaction)
        )
        assert not any(part in written for part in ("Zq", "qZ", "supersecret", "terces"))


TOKENS = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_123",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a1" * 18,
    "github_pat_" + "a1" * 15,
    "xoxb-" + "1234567890-abcdef",
    "sk_live_" + "a1" * 12,
    "sk-ant-" + "a1" * 20,
    "AIza" + "a1" * 17 + "b",
    "glpat-" + "a1" * 10,
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIE cut off",
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:12])
def test_a_token_is_known_by_its_shape(token: str) -> None:
    for value in (token, f"refused: {token}", [token], {"a": {"b": f"x={token}"}}, token.encode()):
        text = str(plain(value, Bounds(), NOTHING))
        assert token not in text
        assert HIDDEN in text


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/a/b?page=2",
        "12:30:00 loaded 500 rows",
        "user=anna host=db1",
        "basic functionality of the passenger list",
        "0b4cf5a2-7a54-4e39-9f5c-1f0f7a5d3f10",
    ],
)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert plain(text, Bounds(), NOTHING) == text


def test_names_can_be_added_and_excepted() -> None:
    redaction = Redaction(
        names=["iban"], public=["token_count"], environment={"APP_TOKEN": "from-outside", "HOME": "/home/shop"}
    )
    found = plain(
        {"customer_IBAN": "DE1", "token_count": 7, "ok_token": None, "seen": "from-outside in /home/shop"},
        Bounds(),
        redaction,
    )
    assert found == {"customer_IBAN": HIDDEN, "token_count": 7, "ok_token": None, "seen": f"{HIDDEN} in /home/shop"}


def test_the_folder_of_the_shell_is_no_password() -> None:
    shell = {"PWD": "/srv/shop", "OLDPWD": "/home/shop", "DB_PWD": "hunter22"}
    redaction = Redaction(environment=shell)
    assert redaction.text('File "/srv/shop/load.py", hunter22') == f'File "/srv/shop/load.py", {HIDDEN}'
    assert redaction.hides("PWD")


def test_a_secret_that_is_a_number_is_hidden_as_one() -> None:
    assert plain([12345678], Bounds(), Redaction(secrets=["12345678"], environment={})) == [HIDDEN]


def test_a_refused_secret_is_not_in_the_refusal() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Redaction(secrets=["abc12"])
    assert "abc12" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["://a:" * 4000, "password" * 2000, "a-" * 8000, "eyJ" * 5000, 'password="' * 2000, "-----BEGIN " * 1500]
)
def test_a_hostile_text_takes_no_time_to_speak_of(text: str) -> None:
    began = time.process_time()
    NOTHING.text(text)
    assert time.process_time() - began < 5


# Repeats


class Kept:
    name, line_bytes = "kept", 1 << 16

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None: ...


def test_the_first_of_a_kind_then_one_summary(strict: Strict) -> None:
    sink, clock = Kept(), ManualClock()
    log = JsonLog(sink, repeats=Repeats(first=2, window_s=60), clock=clock, redaction=NOTHING)
    for number in range(10):
        log.write("error", f"order {number} failed", {"n": number})
        clock.advance(1)
    log.write("error", "something else")
    assert [strict(line)["event"] for line in sink.lines] == ["order 0 failed", "order 1 failed", "something else"]
    clock.advance(60)
    log.write("info", "later")
    summary = strict(sink.lines[3])
    assert (summary["event"], summary["of"], summary["held_back"]) == ("log.repeated", "order # failed", 8)
    assert (summary["since"], summary["until"]) == ("2026-01-01T00:00:02.000000Z", "2026-01-01T00:00:09.000000Z")
    assert (log.counts.written, log.counts.held_back) == (5, 8)


def test_what_was_held_back_is_said_at_the_end(strict: Strict) -> None:
    sink = Kept()
    with JsonLog(sink, repeats=Repeats(first=1), clock=ManualClock()) as log:
        for _ in range(3):
            log.write("info", "again")
    assert strict(sink.lines[-1])["held_back"] == 2


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 30))),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_every_line_is_written_or_counted_once(lines: list[tuple[str, float]], first: int, kinds: int) -> None:
    clock, counting = ManualClock(), Counting(Repeats(first=first, window_s=20, kinds=kinds))
    written = summed = 0
    for event, pause in lines:
        clock.advance(pause)
        decision = counting.decide(Kind("", "info", event), clock.monotonic(), clock.now())
        written += decision.write
        summed += sum(summary.held_back for summary in decision.due)
        assert len(counting._windows) <= kinds
    assert written + summed + sum(summary.held_back for summary in counting.close()) == len(lines)


def test_what_is_critical_is_never_held_back() -> None:
    sink = Kept()
    log = JsonLog(sink, repeats=Repeats(first=1), clock=ManualClock())
    for _ in range(3):
        log.write("critical", "the house burns")
    assert len(sink.lines) == 3
