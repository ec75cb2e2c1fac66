"""What every store of dead letters has to do, in the caller's transaction or not."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from premortem.durable import DeadLetter, DeadLetters, DeadLettersFullError, TooManyDeadLettersError
from premortem.durable.dead_letters.stores import Put
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.ports import ManualClock


def refuse(letter: DeadLetter) -> None:
    raise ValueError(f"{letter.key} is as bad as before")


def nothing(_: DeadLetter) -> None:
    """All is well now."""


def keys(letters: DeadLetters, state: Any = "dead") -> list[str]:
    return [letter.key for letter in letters.letters(state)]


@pytest.mark.parametrize("payload", [{"price": -1, "name": "ä\u0000"}, [1, 2.5, None], "text", None, b"\x00\xff", b""])
def test_a_letter_says_what_why_when_and_how_often(box: Any, payload: Any) -> None:
    clock = ManualClock()
    letters = DeadLetters(box.open(), clock=clock)
    letters.add(payload, "bad price", key="a:1", attempts=3, detail="-1 is below 0")
    clock.advance(60)
    letters.add(payload, "bad date", key="a:1", attempts=5)
    [letter] = letters.letters()
    assert (letter.key, letter.payload, letter.why, letter.attempts, letter.times) == ("a:1", payload, "bad date", 5, 2)
    assert (letter.last_at - letter.first_at).total_seconds() == 60
    assert [(entry.what, entry.detail) for entry in letter.history] == [
        ("died", "bad price: -1 is below 0"), ("died", "bad date: "),
    ]  # fmt: skip


def test_they_are_counted_by_reason_and_kept_apart_by_name(box: Any) -> None:
    store = box.open()
    one, other = DeadLetters(store, "one"), DeadLetters(store, "other")
    for number in range(5):
        one.add(number, "odd" if number % 2 else "even", key=f"{number}")
    other.add(7, "odd", key="0")
    assert one.counts() == {"even": 3, "odd": 2}
    assert list(one.counts()) == ["even", "odd"]
    assert other.counts() == {"odd": 1}
    assert keys(one) == ["0", "1", "2", "3", "4"]
    assert [letter.key for letter in one.letters(why="odd")] == ["1", "3"]


def test_another_process_reads_them(own_box: Any) -> None:
    one, other = DeadLetters(own_box.open()), DeadLetters(own_box.open())
    one.add(1, "x", key="a")
    assert keys(other) == ["a"]
    other.add(2, "x", key="b")
    assert keys(one) == ["a", "b"]


def test_a_replay_does_what_is_dead_in_order_and_marks_it(box: Any, heard: list[Event]) -> None:
    letters = DeadLetters(box.open())
    for number in range(4):
        letters.add(number, "down", key=f"k{number}")
    done: list[Any] = []
    first = letters.replay(lambda letter: done.append(letter.payload))
    box.commit()
    second = letters.replay(lambda letter: done.append(letter.payload))
    assert done == [0, 1, 2, 3]
    assert (first.replayed, first.failed, second.replayed, second.failed) == (4, 0, 0, 0)
    assert (letters.counts(), letters.counts("replayed")) == ({}, {"down": 4})
    history = next(iter(letters.letters("replayed"))).history
    assert [entry.what for entry in history] == ["died", "replayed"]
    assert "dead_letters.replayed" in [event.name for event in heard]


def test_what_fails_again_stays_and_the_others_are_done(box: Any) -> None:
    letters = DeadLetters(box.open())
    for number in range(4):
        letters.add(number, "down", key=f"k{number}")

    def handle(letter: DeadLetter) -> None:
        if letter.payload in (1, 2):
            refuse(letter)

    came = letters.replay(handle)
    assert (came.replayed, came.failed) == (2, 2)
    [first, _] = letters.letters()
    assert (first.key, first.attempts, first.history[-1].what) == ("k1", 2, "replay failed")
    assert first.history[-1].detail == "ValueError: k1 is as bad as before"
    assert letters.replay(nothing).replayed == 2


def test_a_replay_may_be_a_part(box: Any) -> None:
    letters = DeadLetters(box.open())
    for number in range(6):
        letters.add(number, "odd" if number % 2 else "even", key=f"k{number}")
    assert letters.replay(nothing, limit=1).replayed == 1
    assert letters.replay(nothing, why="odd").replayed == 3
    came = letters.replay(refuse, stop_after=1)
    assert (came.replayed, came.failed) == (0, 1)
    assert keys(letters) == ["k2", "k4"]


def test_a_handler_that_adds_letters_does_not_run_for_ever(box: Any) -> None:
    letters = DeadLetters(box.open())
    letters.add(1, "x", key="k1")
    assert letters.replay(lambda letter: letters.add(1, "x", key=letter.key + "1")).replayed == 1
    assert keys(letters) == ["k11"]


def test_what_dies_again_after_its_replay_is_dead_and_its_history_goes_on(box: Any) -> None:
    letters = DeadLetters(box.open())
    letters.add(1, "x", key="a")
    letters.replay(nothing)
    again = letters.add(2, "y", key="a")
    assert (again.state, again.times, again.payload) == ("dead", 2, 2)
    assert [entry.what for entry in again.history] == ["died", "replayed", "died"]


def test_a_history_is_bounded(box: Any) -> None:
    letters = DeadLetters(box.open())
    for _ in range(30):
        letter = letters.add(1, "x", key="a", detail="d" * 10_000)
    assert (letter.times, len(letter.history)) == (30, 20)
    assert len(letter.detail) == 2000


def test_a_letter_can_be_given_up(box: Any) -> None:
    letters = DeadLetters(box.open())
    letters.add(1, "x", key="a")
    assert (letters.discard("a", "the customer called"), letters.discard("a", "again"), letters.discard("b", "")) == (
        True, False, False,
    )  # fmt: skip
    assert letters.replay(nothing).replayed == 0
    [letter] = letters.letters("discarded")
    assert letter.history[-1].detail == "the customer called"


def test_two_replays_at_once_do_no_letter_twice(own_box: Any) -> None:
    one, other = DeadLetters(own_box.open()), DeadLetters(own_box.open())
    for number in range(10):
        one.add(number, "x", key=f"k{number}")
    done: list[Any] = []

    def handle(letter: DeadLetter) -> None:
        done.append(letter.payload)
        threading.Event().wait(0.005)

    threads = [threading.Thread(target=letters.replay, args=(handle,)) for letters in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == list(range(10))


def test_many_that_add_at_once_lose_nothing(own_box: Any) -> None:
    everybody = [DeadLetters(own_box.open()) for _ in range(8)]
    start = threading.Barrier(len(everybody))
    errors: list[Exception] = []

    def add(number: int, letters: DeadLetters) -> None:
        try:
            start.wait(60)
            for row in range(10):
                letters.add(row, "x", key="the same")
                letters.add(row, "x", key=f"{number}:{row}")
        except Exception as error:  # noqa: BLE001 - a thread's error must not go unseen
            errors.append(error)

    threads = [threading.Thread(target=add, args=pair) for pair in enumerate(everybody)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    found = {letter.key: letter.times for letter in everybody[0].letters()}
    assert found == {"the same": 80} | {f"{number}:{row}": 1 for number in range(8) for row in range(10)}


def test_a_letter_of_a_replay_that_died_is_for_the_next_one_after_its_lease(own_box: Any) -> None:
    clock = ManualClock()
    letters = DeadLetters(own_box.open(), lease_s=60, clock=clock)
    letters.add(1, "x", key="a")

    def die(_: DeadLetter) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        letters.replay(die)
    assert letters.replay(nothing).skipped == 1
    assert not letters.discard("a", "somebody may still be at it")
    clock.advance(60)
    assert letters.replay(nothing).replayed == 1


def test_in_a_transaction_the_effect_of_a_replay_and_its_mark_are_one(opened_of: Any) -> None:
    for kind in ("sqlite in a transaction", "postgres in a transaction"):
        box = opened_of(kind)
        letters = DeadLetters(box.open())
        letters.add(1, "x", key="a")
        letters.add(2, "x", key="b")
        box.connection.execute("CREATE TABLE effects (payload int)")
        box.commit()

        def handle(letter: DeadLetter, connection: Any = box.connection) -> None:
            connection.execute(f"INSERT INTO effects VALUES ({letter.payload!r})")
            if letter.payload == 2:
                refuse(letter)

        came = letters.replay(handle)
        assert (came.replayed, came.failed) == (1, 1)
        box.rollback()
        assert keys(letters) == ["a", "b"]
        letters.replay(handle)
        box.commit()
        assert box.connection.execute("SELECT payload FROM effects").fetchall() == [(1,)]
        assert keys(letters) == ["b"]
        box.commit()


def test_postgres_a_letter_in_somebody_elses_transaction_is_left_alone(opened_of: Any) -> None:
    box = opened_of("postgres in a transaction")
    one = DeadLetters(box.open())
    one.add(1, "x", key="a")
    box.commit()
    other = DeadLetters(box.open())
    assert one.replay(nothing).replayed == 1
    assert other.replay(nothing).skipped == 1
    box.commit()
    assert other.replay(nothing).replayed == 0


# -- Bounds


def test_when_it_is_full_it_says_so_and_keeps_nothing_more(box: Any) -> None:
    letters = DeadLetters(box.open(), most=5)
    for number in range(5):
        letters.add(number, "x", key=f"k{number}")
    with pytest.raises(DeadLettersFullError, match="does not fit into what is left of most=5 letters"):
        letters.add(5, "x", key="k5")
    letters.add("again", "x", key="k0")  # what is there may die once more
    assert sum(letters.counts().values()) == 5


def test_bytes_are_bounded_too(box: Any) -> None:
    letters = DeadLetters(box.open(), most_bytes=20_000)

    def flood() -> None:
        for number in range(100):
            letters.add("x" * 1000, "x", key=f"k{number}")

    with pytest.raises(DeadLettersFullError):
        flood()
    assert 5 <= sum(letters.counts().values()) <= 20
    assert sum(tally.bytes for tally in letters.store.tallies("default")) <= 20_000


def test_what_is_closed_makes_room_the_oldest_first(box: Any, heard: list[Event]) -> None:
    letters = DeadLetters(box.open(), most=10)
    for number in range(10):
        letters.add(number, "x", key=f"k{number}")
    letters.replay(nothing, limit=5)
    for number in range(10, 15):
        letters.add(number, "x", key=f"k{number}")
    assert sum(letters.counts().values()) == 10
    assert letters.counts("replayed") == {}
    assert "dead_letters.history_dropped" in [event.name for event in heard]


def test_the_oldest_may_be_dropped_and_that_is_told(box: Any, heard: list[Event]) -> None:
    letters = DeadLetters(box.open(), most=10, when_full="drop oldest")
    for number in range(25):
        letters.add(number, "x", key=f"k{number}")
    assert keys(letters) == [f"k{number}" for number in range(15, 25)]
    dropped = [event.get("letters") for event in heard if event.name == "dead_letters.dropped"]
    assert sum(dropped) == 15  # type: ignore[arg-type]


def test_too_large_a_share_stops_and_the_letter_is_kept(box: Any) -> None:
    letters = DeadLetters(box.open(), share=0.1, least=50)
    letters.passed(90)
    for number in range(10):
        letters.add(number, "x", key=f"k{number}")
    with pytest.raises(TooManyDeadLettersError, match=r"11 of 101 are dead letters, 10.9%, and the limit is 10.0%"):
        letters.add(10, "x", key="k10")
    assert letters.counts() == {"x": 11}


def test_a_few_at_the_beginning_are_no_share(box: Any) -> None:
    letters = DeadLetters(box.open(), share=0.1, least=10)
    for number in range(9):
        letters.add(number, "x", key=f"k{number}")
    with pytest.raises(TooManyDeadLettersError):
        letters.passed()


def test_a_letter_is_changed_whole_or_not_at_all(box: Any) -> None:
    store = box.open()

    def fail(_: object, __: object) -> Put:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.change("n", "k", fail)
    assert store.tallies("n") == ()
    store.change("n", "k", lambda _, __: Put("why", "dead", b"\x00\xff"))
    [row] = store.page("n", state="dead", why=None, after=0, limit=10)
    assert (row.key, row.document, store.newest("n")) == ("k", b"\x00\xff", row.number)
    store.change("n", "k", lambda _, __: Put("why", "replayed", b"2"))
    assert store.remove("n", [row]) == 0  # it is not as it was read
    [row] = store.page("n", state="replayed", why="why", after=0, limit=10)
    assert store.remove("n", [row]) == 1
    assert (store.tallies("n"), store.newest("n")) == ((), 0)


def test_numbers_are_not_given_twice(box: Any) -> None:
    store = box.open()
    numbers = set()
    for _ in range(3):
        store.change("n", "k", lambda _, __: Put("why", "dead", b"1"))
        [row] = store.page("n", state="dead", why=None, after=0, limit=10)
        numbers.add(row.number)
        store.remove("n", [row])
    assert len(numbers) == 3


@pytest.mark.parametrize("told", [
    {"most": 0}, {"most": True}, {"most_bytes": 10}, {"when_full": "grow"}, {"share": 1}, {"share": -0.1}, {"least": 0},
    {"lease_s": 0}, {"name": ""}, {"name": "a\nb"},
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(opened_of: Any, told: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"DeadLetters.{next(iter(told))}"):
        DeadLetters(opened_of("file").open(), **told)


def test_what_can_be_no_letter_is_refused(opened_of: Any) -> None:
    letters = DeadLetters(opened_of("file").open())
    for told in ({"key": ""}, {"key": "k", "why": ""}, {"key": "k", "attempts": -1}, {"key": "k", "payload": {1, 2}}):
        with pytest.raises(ConfigurationError):
            letters.add(**{"payload": 1, "why": "x", **told})  # type: ignore[arg-type]
    assert letters.counts() == {}
