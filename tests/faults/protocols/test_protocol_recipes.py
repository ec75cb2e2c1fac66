"""Recipes that make no sense are refused before anything is armed, and say what would make sense."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols import Hit, Reply, Script, Wait
from premortem.model.recipe import Recipe

Rehearse = Callable[..., Script]


@pytest.mark.parametrize(
    ("recipe", "way_out"),
    [
        ("postgres:COMIT#1", "did you mean COMMIT"),
        ("postgres:ReadyForQury#1", "did you mean ReadyForQuery"),
        ("postgres:frobnicate#1", "neither a SQL command nor a message"),
        ("postgres:Terminate#1:after", "write Terminate#1:sent"),
        ("postgres:CopyData#2:after=delay 1", "write CopyData#2:sent"),
        ("postgres:COMMIT#1=error", "no SQLSTATE"),
        ("postgres:COMMIT#1=error 4000", "no SQLSTATE"),
        ("postgres:COMMIT#1=error oops!", "write error 40001"),
        ("postgres:COMMIT#1=nil", "no effect on PostgreSQL"),
        ("postgres:COMMIT#1=delay", "write delay 0.5"),
        ("postgres:COMMIT#1=delay 2..1", "write delay 0.5"),
        ("postgres:COMMIT#1=delay 1.2.3", "write delay 0.5"),
        ("postgres:COMMIT#1=delay 1e9", "write delay 0.5"),
        ("postgres:COMMIT#1:sent=error 40001", "write :before or :after"),
        ("postgres:CommandComplete#1=error 40001", "name the statement"),
        ("postgres:Terminate#1=error 40001", "never answers Terminate"),
        ("redis:SET#1=error", "no effect on Redis"),
        ("redis:SET#1=status 503", "no effect on Redis"),
        ("redis:SET#1:sent=nil", "write :before or :after"),
        ("redis:Reply#1=nil", "the command is named"),
        ("redis:S ET#1x=nil", "form"),
        ("redis:!!#1=nil", "is no command"),
        ("redis:SUBSCRIBE#1:after", "not answered once"),
        ("redis:unreadable#1", "cannot be struck"),
        ("http:/orders#1", "is no request"),
        ("http:GET /orders#1=truncate", "write http:GET /orders#1:after=truncate"),
        ("http:GET /orders#1=status 99", "no effect on HTTP"),
        ("http:GET /orders#1=status 503 nonsense", "no header"),
        ("http:GET /orders#1:after=drip 0/1", "no effect on HTTP"),
        ("http:GET /orders#1:after=rename a", "no effect on HTTP"),
        ("http:GET /orders#1:sent=status 503", "write :before or :after"),
        ("http:Response#1:after=html", "name its request"),
    ],
)
def test_what_makes_no_sense_says_what_does(recipe: str, way_out: str, rehearse: Rehearse) -> None:
    with pytest.raises(ConfigurationError, match=way_out):
        rehearse(recipe)


def test_a_script_is_of_one_protocol_and_does_something(rehearse: Rehearse) -> None:
    with pytest.raises(ConfigurationError, match="speaks redis"):
        rehearse("redis:SET#1", "postgres:COMMIT#1")
    with pytest.raises(ConfigurationError, match="one of postgres, redis, http"):
        rehearse(protocol="mysql")
    from premortem.faults.proxy.protocols.scripts import script  # noqa: PLC0415 - the fixture records if there is none

    with pytest.raises(ConfigurationError, match="no recipe"):
        script([], protocol="http", record=False, options={}, seed=0)


@pytest.mark.parametrize(
    "recipe", ["postgres:COMMIT#1", "redis:SET#1=nil", "http:GET /a#1", "http:GET /a#1:after=truncate"]
)
def test_options_are_for_answers_that_http_makes_up(recipe: str, rehearse: Rehearse) -> None:
    with pytest.raises(ConfigurationError, match="options"):
        rehearse(recipe, **{"Retry-After": "1"})


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("postgres:commit#1=error 40001", b"Q\x00\x00\x00\x08END\x00"),
        ("postgres:abort#1=cut", b"Q\x00\x00\x00\x0dROLLBACK\x00"),
        ("postgres:Start Transaction#1=cut", b"Q\x00\x00\x00\x0abegin\x00"),
        ("postgres:insert Public.Payments#1=cut", b"Q\x00\x00\x00\x18insert into PAYMENTS \x00"),
        ('postgres:INSERT "Odd"#1=cut', b'Q\x00\x00\x00\x18INSERT INTO a . "Odd"\x00'),
        ("postgres:create table#1=cut", b"Q\x00\x00\x00\x15Create  TABLE a\n\n\x00"),
        ("postgres:rollback to#1=cut", b"Q\x00\x00\x00\x1arollback work to savep\x00"),
    ],
)
def test_a_statement_goes_by_several_names(recipe: str, says: bytes, rehearse: Rehearse) -> None:
    text = says[5:]
    actions = rehearse(recipe).open().feed("up", b"Q" + (len(text) + 4).to_bytes(4, "big") + text)
    assert any(isinstance(action, Hit) for action in actions) or "error" in recipe
    assert len(actions) == (1 if "error" in recipe else 2)


def test_a_delay_that_is_drawn_can_be_drawn_again(rehearse: Rehearse) -> None:
    def waits(seed: int) -> list[float]:
        conversation = rehearse("redis:SET#1+=delay 0.1..0.3", seed=seed).open()
        actions = conversation.feed("up", b"set a 1\r\n" * 20)
        return [action.seconds for action in actions if isinstance(action, Wait)]

    assert waits(1) == waits(1) != waits(2)
    assert len(waits(1)) == 20
    assert all(0.1 <= seconds <= 0.3 for seconds in waits(1))


def test_encryption_is_declined_so_that_the_rest_can_be_read(rehearse: Rehearse) -> None:
    conversation = rehearse("postgres:StartupMessage#1").open()
    for code in (80877103, 80877104):
        assert conversation.feed("up", (8).to_bytes(4, "big") + code.to_bytes(4, "big")) == [Reply(b"N")]
    hit, _cut = conversation.feed("up", (9).to_bytes(4, "big") + (196608).to_bytes(4, "big") + b"\0")
    assert isinstance(hit, Hit)


PAGE = Path(__file__).parents[3] / "docs" / "faults" / "protocols.md"
DOCUMENTED = re.findall(r"`((?:postgres|redis|http):[^`\n]+#[0-9][^`\n]*)`", PAGE.read_text())


@pytest.mark.parametrize("recipe", DOCUMENTED)
def test_what_is_documented_makes_sense(recipe: str, rehearse: Rehearse) -> None:
    rehearse(recipe)
    assert str(Recipe.parse(recipe)) == recipe


def test_options_go_into_the_recipe(rehearse: Rehearse) -> None:
    script = rehearse("http:POST /orders#1=status 503", body="sorry", retry_after="2")
    _reply, hit = script.open().feed("up", b"POST /orders HTTP/1.1\r\n\r\n")
    assert isinstance(hit, Hit)
    assert hit.recipe == "http:POST /orders#1=status 503 retry-after: 2; body: sorry"
    assert hit.recipe in DOCUMENTED
