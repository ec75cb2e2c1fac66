"""What every store of checkpoints has to do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from premortem.durable import (
    Checkpoint,
    CheckpointDamagedError,
    NewerSchemaError,
    OwnedError,
    StaleOwnerError,
)
from premortem.durable.checkpoint.rules import AFTER_LOSS
from premortem.durable.errors import MigrationError
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.model.codec import Json
from premortem.ports import ManualClock

Alter = Callable[[bytes], bytes | None]


def names(heard: list[Event]) -> list[str]:
    return [event.name for event in heard]


def flipped(raw: bytes) -> bytes:
    return raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:]


def saved(place: Any, name: str = "job", times: int = 3, **settings: Any) -> Checkpoint:
    checkpoint = Checkpoint(place.store(), name, **settings)
    for number in range(1, times + 1):
        checkpoint.save({"n": number})
    place.settle()
    return checkpoint


def value(checkpoint: Checkpoint) -> Json:
    found = checkpoint.load()
    return found.value if found else None


def test_nothing_then_what_was_saved_and_by_whom(place: Any, heard: list[Event]) -> None:
    checkpoint = Checkpoint(place.store(), "job", schema=2)
    assert checkpoint.load() is None
    first = checkpoint.save({"chunk": 1, "sum": 1.5, "of": [None, True, "é\0"]})
    assert (first.version, first.schema, first.owner, first.fence, first.stored) == (1, 2, "", 0, True)
    place.settle()
    assert Checkpoint(place.store(), "job", schema=2).load() == first
    assert first.saved_at.utcoffset() == timedelta(0)
    assert Checkpoint(place.store(), "another job").load() is None
    assert names(heard) == ["checkpoint.nothing_saved", "checkpoint.saved", "checkpoint.nothing_saved"]


def test_so_many_versions_are_kept(place: Any) -> None:
    checkpoint = saved(place, times=7, keep=4)
    assert place.versions("job") == [4, 5, 6, 7]
    assert value(checkpoint) == {"n": 7}
    checkpoint.forget()
    place.settle()
    assert place.versions("job") == []
    assert checkpoint.load() is None
    assert checkpoint.save(1).version == 1


@pytest.mark.parametrize("name", ["..", "a/b", "%2E", "ü", "a b", "'; DROP TABLE x; --", "{a}:head", "x" * 200])
def test_any_name_is_a_name(place: Any, name: str) -> None:
    saved(place, name, times=1)
    assert value(Checkpoint(place.store(), name)) == {"n": 1}
    assert Checkpoint(place.store(), "a").load() is None


@pytest.mark.parametrize("odd", [(1, 2), {1: 2}, {"a": (1,)}, float("nan"), float("inf"), b"x", {1, 2}, object()])
def test_what_json_would_change_is_refused(place: Any, odd: Any) -> None:
    checkpoint = saved(place)
    with pytest.raises(ConfigurationError, match="job"):
        checkpoint.save(odd)
    assert value(checkpoint) == {"n": 3}


def test_a_damaged_version_is_told_and_the_last_good_one_used(place: Any, heard: list[Event]) -> None:
    saved(place)
    place.alter_document("job", 3, flipped)
    del heard[:]
    checkpoint = Checkpoint(place.store(), "job")
    found = checkpoint.load()
    assert found is not None
    assert (found.value, found.version) == ({"n": 2}, 2)
    assert [(one.name, one.get("version"), one.get("used")) for one in heard] == [("checkpoint.damaged", 3, 2)]
    assert checkpoint.save({"n": 4}).version == 4  # whoever has seen the damage may go on
    place.settle()
    assert value(Checkpoint(place.store(), "job")) == {"n": 4}


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw.replace(b'{"n":3}', b'{"n":9}'),
        lambda raw: raw + b"\n",
        lambda raw: raw.replace(b"premortem checkpoint 1", b"premortem checkpoint 2"),
        lambda _: b"",
        lambda _: b'{"n": 3}',
        lambda _: None,
    ],
    ids=["edited", "a newline", "another format", "empty", "bare", "lost"],
)
def test_a_hand_in_the_newest_version_is_found(place: Any, heard: list[Event], edit: Alter) -> None:
    saved(place)
    place.alter_document("job", 3, edit)
    assert value(Checkpoint(place.store(), "job")) == {"n": 2}
    assert "checkpoint.damaged" in names(heard)


def test_another_version_in_its_place_is_no_version(place: Any) -> None:
    saved(place)
    seen: list[bytes] = []

    def copied(raw: bytes) -> bytes:
        seen.append(raw)
        return raw

    place.alter_document("job", 1, copied)
    place.alter_document("job", 3, lambda _: seen[0])
    assert value(Checkpoint(place.store(), "job")) == {"n": 2}


def test_where_none_is_good_it_stops_instead_of_beginning_anew(place: Any) -> None:
    saved(place)
    for version in (1, 2):
        place.alter_document("job", version, flipped)
    place.alter_document("job", 3, lambda _: None)
    with pytest.raises(CheckpointDamagedError, match=r"version 3: it is missing.*version 2: the checksum.*version 1"):
        Checkpoint(place.store(), "job").load()
    for version in (1, 2):
        place.alter_document("job", version, lambda _: None)
    with pytest.raises(CheckpointDamagedError, match="version 3: it is missing"):
        Checkpoint(place.store(), "job").load()


@pytest.mark.parametrize("how", [lambda _: None, flipped, lambda _: b""], ids=["lost", "damaged", "empty"])
def test_a_head_that_is_lost_is_made_again_and_fences_everybody_out(place: Any, heard: list[Event], how: Alter) -> None:
    checkpoint = saved(place)
    claim = checkpoint.claim("a", 60)
    checkpoint.save({"n": 4})
    claim = checkpoint.claim("a", 60)  # a fence that no document knows
    place.settle()
    place.alter_head("job", how)
    assert value(Checkpoint(place.store(), "job")) == {"n": 4}
    with pytest.raises(StaleOwnerError):
        checkpoint.save({"n": 5}, fence=claim.fence)
    other = Checkpoint(place.store(), "job")
    assert other.claim("b", 60).fence > AFTER_LOSS
    assert other.save({"n": 5}).version == 5
    assert "checkpoint.head_rebuilt" in names(heard)


def test_older_schemas_are_migrated_step_by_step(place: Any, heard: list[Event]) -> None:
    saved(place, times=1)
    migrations: dict[int, Callable[[Any], Json]] = {1: lambda old: {"chunks": old["n"]}, 2: lambda old: [old["chunks"]]}
    newer = Checkpoint(place.store(), "job", schema=3, migrations=migrations)
    found = newer.load()
    assert found is not None
    assert (found.value, found.schema) == ([1], 3)
    assert heard[-1] == Event("checkpoint.migrated", (("checkpoint", "job"), ("schema", 1), ("to", 3)))
    newer.save([2])
    place.settle()
    assert value(newer) == [2]


def test_a_newer_schema_stops_older_code_in_reading_and_in_writing(place: Any) -> None:
    older = saved(place, times=1)
    claim = older.claim("w", 60)
    newer = Checkpoint(place.store(), "job", schema=2, migrations={1: lambda old: old})
    newer.claim("w", 60)
    newer.save("new")
    place.settle()
    newest = claim.fence + 1
    stale: list[Callable[[], object]] = [older.load, lambda: older.save("x"), lambda: older.save("x", fence=newest)]
    for act in stale:
        with pytest.raises((NewerSchemaError, StaleOwnerError)):
            act()
    with pytest.raises(NewerSchemaError, match="run the newer code"):
        older.load()
    assert value(newer) == "new"
    with pytest.raises(MigrationError, match=r"migrations\[2\]"):
        Checkpoint(place.store(), "job", schema=4, migrations={1: lambda old: old, 3: lambda old: old}).load()


def test_who_has_not_looked_may_not_overwrite(place: Any) -> None:
    one, two = saved(place, times=1), Checkpoint(place.store(), "job")
    with pytest.raises(StaleOwnerError, match=r"load\(\) it before you save"):
        two.save("two")
    two.load()
    two.save("two")
    with pytest.raises(StaleOwnerError):
        one.save("one")
    assert value(one) == "two"
    one.save("one, who has looked")


def test_one_at_a_time_by_claim(place: Any) -> None:
    clock = ManualClock()
    one = Checkpoint(place.store(), "job", clock=clock)
    two = Checkpoint(place.store(), "job", clock=clock)
    with one.claim("one", 30) as claim:
        assert one.save("one").owner == "one"
        with pytest.raises(OwnedError, match="held by 'one' until 2026-01-01 00:00:30 UTC") as caught:
            two.claim("two", 30)
        assert caught.value.until == clock.now() + timedelta(seconds=30)
        two.load()
        with pytest.raises(OwnedError):
            two.save("two")
        clock.advance(29)
        claim.renew()
        clock.advance(29)
        with pytest.raises(OwnedError):
            two.claim("two", 30)
    second = two.claim("two", 30)
    assert second.fence == claim.fence + 1
    assert two.save("two").fence == second.fence


def test_a_stale_owner_cannot_overwrite_renew_or_release(place: Any, heard: list[Event]) -> None:
    clock = ManualClock()
    one = Checkpoint(place.store(), "job", clock=clock)
    two = Checkpoint(place.store(), "job", clock=clock)
    claim = one.claim("one", 30)
    one.save("one")
    clock.advance(31)
    one.save("late, and nobody minds: there is no other")
    two.claim("two", 30)
    for act in (lambda: one.save("stale"), lambda: one.save("stale", fence=claim.fence), claim.renew, claim.release):
        with pytest.raises(StaleOwnerError):
            act()
    assert value(two) == "late, and nobody minds: there is no other"
    two.save("two")
    with claim:
        pass
    assert names(heard)[-1] == "checkpoint.not_released"


def test_the_same_owner_comes_back_at_once_and_the_dead_can_be_taken_over(place: Any) -> None:
    one = Checkpoint(place.store(), "job")
    before = one.claim("one", 3600)
    again = Checkpoint(place.store(), "job")
    after = again.claim("one", 3600)
    with pytest.raises(StaleOwnerError):
        one.save("the one that was thought dead", fence=before.fence)
    again.save("the one that came back")
    other = Checkpoint(place.store(), "job").claim("other", 3600, take_over=True)
    assert before.fence < after.fence < other.fence
    with pytest.raises(StaleOwnerError):
        again.save("late")


class Jumping(ManualClock):
    """Its calendar can be put back."""

    def jump(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


def test_a_clock_that_jumps_neither_lengthens_a_lease_nor_lets_the_stale_write(place: Any) -> None:
    clock = Jumping()
    one, two = (Checkpoint(place.store(), "job", clock=clock) for _ in range(2))
    one.claim("one", 30)
    clock.jump(-365 * 86400)
    with pytest.raises(OwnedError) as caught:
        two.claim("two", 30)
    assert caught.value.until == clock.now() + timedelta(seconds=30)
    clock.advance(30)  # a year before it was claimed, and 30 s after we began to look
    two.claim("two", 30)
    with pytest.raises(StaleOwnerError):
        one.save("one")
    clock.jump(365 * 86400)
    three = Checkpoint(place.store(), "job", clock=clock)
    three.claim("three", 30)
    with pytest.raises(StaleOwnerError):
        two.save("two")
    three.save("three")
    clock.jump(-7 * 86400)
    assert three.save("earlier by the calendar").version == 2
    place.settle()
    assert value(three) == "earlier by the calendar"
