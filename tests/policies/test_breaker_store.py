"""Stores of a circuit: one suite for both, and breakers that share one, over a real Valkey."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.events import Event, listening, subscribe
from premortem.policies import Policy
from premortem.policies.breaker import CircuitBreaker, CircuitBreakerLayer
from premortem.policies.breaker_machine import Circuit, Signal, State
from premortem.policies.breaker_store import BreakerStore, BreakerStoreError, MemoryStore
from premortem.policies.breaker_valkey import SharedByValkey, ValkeyStore, decode, encode
from premortem.policies.rejections import CircuitOpenError
from premortem.policies.timing import TIME
from premortem.policies.windows import Consecutive
from premortem.servers import Servers

BOUND_S = 10.0
KEYS = (f"premortem-test:{number}" for number in itertools.count())
OPEN = Circuit(State.OPEN, 1, Signal.TRIPPED, 1, 0.1, 60.1, ((7, 1.5),), 7, 2)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Servers() as servers:
        yield servers.valkey().admin_url


@dataclass(frozen=True)
class InMemory:
    """One circuit in memory for several breakers, which treat it as a shared one."""

    one: BreakerStore
    refresh_s: float = 0.0

    def store(self, policy: str) -> BreakerStore:
        assert policy
        return self.one


Make = Callable[[], Callable[[], BreakerStore]]


@pytest.fixture(params=["memory", "valkey"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a maker of stores that all keep the same circuit: of another process, as it were."""
    opened: list[ValkeyStore] = []

    def begin() -> Callable[[], BreakerStore]:
        if request.param == "memory":
            store = MemoryStore()
            return lambda: store
        url, key = request.getfixturevalue("url"), next(KEYS)

        def connect() -> BreakerStore:
            opened.append(SharedByValkey(url, key, timeout_s=5).store("orders"))
            return opened[-1]

        return connect

    yield begin
    for store in opened:
        store.close()


def eventually(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + BOUND_S
    while not reached():
        assert time.monotonic() < until, f"did not happen within {BOUND_S} s"
        time.sleep(0.002)


async def eventually_async(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + BOUND_S
    while not reached():
        assert time.monotonic() < until, f"did not happen within {BOUND_S} s"
        await asyncio.sleep(0.002)


class TestEveryStore:
    def test_begins_closed(self, make: Make) -> None:
        assert make()().read()[0] == Circuit()

    def test_what_is_swapped_in_is_read_by_all(self, make: Make) -> None:
        connect = make()
        assert connect().swap(Circuit(), OPEN)
        assert connect().read()[0] == OPEN

    def test_swaps_only_what_is_still_so(self, make: Make) -> None:
        store = make()()
        assert not store.swap(OPEN, Circuit())
        assert store.swap(Circuit(), OPEN)
        assert not store.swap(Circuit(), replace(OPEN, era=5))
        assert not store.swap(replace(OPEN, until=60.2), Circuit())
        assert store.read()[0] == OPEN

    def test_its_time_runs_forward(self, make: Make) -> None:
        store = make()()
        first = store.read()[1]
        eventually(lambda: store.read()[1] > first)
        assert 0 < store.read()[1] - first < BOUND_S

    def test_of_twenty_who_swap_at_once_one_wins(self, make: Make) -> None:
        connect, start = make(), threading.Barrier(20)
        stores = [connect() for _ in range(20)]

        def swap(number: int) -> bool:
            start.wait(BOUND_S)
            return stores[number].swap(Circuit(), replace(OPEN, era=number + 1))

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(swap, range(20))) == 1

    def test_no_step_of_many_is_lost(self, make: Make) -> None:
        connect = make()

        def count(_: int) -> None:
            store = connect()
            for _ in range(25):
                while not store.swap(now := store.read()[0], replace(now, era=now.era + 1)):
                    pass

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, range(4)))
        assert connect().read()[0].era == 100

    def test_breakers_that_share_it_give_out_one_probe(self, make: Make) -> None:
        connect = make()
        spec = CircuitBreaker(Consecutive(2), recovery_s=0.05, probe_limit_s=60)
        layers = [replace(spec, store=InMemory(connect())).layer("orders") for _ in range(5)]
        for _ in range(2):
            layers[0].leave(layers[0].enter(), OSError())
        eventually(lambda: layers[0].snapshot().state is State.OPEN)
        eventually(lambda: (layers[0].snapshot().next_probe_s or 0) == 0)
        start, admitted, refused = threading.Barrier(20), [], []

        def ask(number: int) -> None:
            start.wait(BOUND_S)
            layer = layers[number % 5]
            try:
                admitted.append((layer, layer.enter()))
            except CircuitOpenError as error:
                refused.append(error.retry_after_s)

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(ask, range(20)))
        assert len(admitted) == 1
        assert len(refused) == 19
        layer, probe = admitted[0]
        layer.leave(probe, asyncio.CancelledError())  # gives it back, to all
        eventually(lambda: not _refused(layers[1], leave=OSError()))  # the next one, in another "process"
        eventually(lambda: connect().read()[0].openings == 2)
        eventually(lambda: not _refused(layers[2]))
        eventually(lambda: connect().read()[0].state is State.CLOSED)
        assert not _refused(layers[4])

    def test_a_hand_is_felt_everywhere(self, make: Make) -> None:
        connect = make()
        one, other = (CircuitBreaker(store=InMemory(connect())).layer("orders") for _ in range(2))
        heard: list[Event] = []
        one.isolate()
        with listening(heard.append):
            assert _refused(other)
        assert [event.name for event in heard] == ["policy.breaker_opened", "policy.breaker_rejected"]
        assert heard[0].get("why") == "isolated by hand"
        other.close()
        assert not _refused(one)

    def test_coroutines(self, make: Make) -> None:
        spec = CircuitBreaker(Consecutive(1), recovery_s=0.05, store=InMemory(make()()))
        policy = Policy("orders", spec)
        layer = policy.layer(CircuitBreakerLayer)
        reached, refused = [], []

        async def main() -> None:
            all_asked = asyncio.Event()

            @policy
            async def dependency(error: Exception | None) -> None:
                if error is not None:
                    raise error
                reached.append(1)
                await all_asked.wait()

            async def call() -> None:
                try:
                    await dependency(None)
                except CircuitOpenError as error:
                    refused.append(error.retry_after_s)
                if len(refused) == 19:
                    all_asked.set()

            with pytest.raises(OSError, match="down"):
                await dependency(OSError("down"))
            await eventually_async(lambda: layer.snapshot().state is State.OPEN)
            await eventually_async(lambda: layer.snapshot().next_probe_s == 0)
            await asyncio.gather(*(call() for _ in range(20)))
            await eventually_async(lambda: layer.snapshot().state is State.CLOSED)

        asyncio.run(asyncio.wait_for(main(), BOUND_S))
        assert (len(reached), len(refused)) == (1, 19)


def _refused(layer: CircuitBreakerLayer, leave: BaseException | None = None) -> bool:
    try:
        layer.leave(layer.enter(), leave)
    except CircuitOpenError:
        return True
    return False


class Shaky(MemoryStore):
    """Answers while `up`; notes who asked."""

    up = True
    asked = 0

    def read(self) -> tuple[Circuit, float]:
        self._check()
        return super().read()

    def swap(self, before: Circuit, after: Circuit) -> bool:
        self._check()
        return super().swap(before, after)

    def _check(self) -> None:
        self.asked += 1
        if not self.up:
            raise BreakerStoreError("nobody answers")


class TestAShared:
    def test_store_that_does_not_answer_fails_no_call_and_the_breaker_goes_on_alone(self) -> None:
        kept, now = TIME.monotonic, 1000.0
        TIME.monotonic = lambda: now
        heard: list[Event] = []
        unsubscribe = subscribe(heard.append)
        try:
            store = Shaky(ahead_s=5e8)
            layer = CircuitBreaker(Consecutive(2), recovery_s=60, store=InMemory(store, 1.0)).layer("orders")
            assert not _refused(layer)
            store.up = False
            now += 2
            for _ in range(2):
                assert not _refused(layer, leave=OSError())
            eventually(lambda: layer.snapshot().state is State.OPEN)  # alone
            assert _refused(layer)
            now += 61
            assert not _refused(layer)
            eventually(lambda: layer.snapshot().state is State.CLOSED)
            assert store.read.__self__._circuit == Circuit()  # type: ignore[attr-defined]
            store.up = True
            store.swap(Circuit(), Circuit(State.ISOLATED, 9, Signal.ISOLATED_BY_HAND))
            now += 2
            assert _refused(layer)  # follows again
            names = [event.name.removeprefix("policy.breaker_") for event in heard]
            assert names == [
                "store_lost", "opened", "rejected", "half_open", "closed", "store_found", "opened", "rejected"
            ]  # fmt: skip
        finally:
            unsubscribe()
            TIME.monotonic = kept

    def test_circuit_that_is_open_when_its_store_is_lost_stays_open_for_its_time(self) -> None:
        kept, now = TIME.monotonic, 1000.0
        TIME.monotonic = lambda: now
        try:
            store = Shaky(Circuit(State.OPEN, 1, Signal.TRIPPED, 1, 5e8 + 1000, 5e8 + 1060), ahead_s=5e8)
            layer = CircuitBreaker(store=InMemory(store, 1.0)).layer("orders")
            assert _refused(layer)
            store.up = False
            now += 30
            assert _refused(layer)
            assert layer.snapshot().next_probe_s == pytest.approx(30)
            now += 30
            assert not _refused(layer)
        finally:
            TIME.monotonic = kept

    def test_store_is_asked_once_in_refresh_s(self) -> None:
        kept, now = TIME.monotonic, 1000.0
        TIME.monotonic = lambda: now
        try:
            store = Shaky()
            layer = CircuitBreaker(store=InMemory(store, 1.0)).layer("orders")
            for _ in range(100):
                assert not _refused(layer)
            assert store.asked == 1
            now += 1
            assert not _refused(layer)
            assert store.asked == 2
        finally:
            TIME.monotonic = kept

    def test_store_is_told_by_a_thread_so_that_leaving_does_not_wait(self) -> None:
        told, go = [], threading.Event()

        class Slow(MemoryStore):
            def swap(self, before: Circuit, after: Circuit) -> bool:
                told.append(threading.current_thread())
                assert go.wait(BOUND_S)
                return super().swap(before, after)

        layer = CircuitBreaker(Consecutive(1), store=InMemory(Slow(), 60.0)).layer("orders")
        layer.leave(layer.enter(), OSError())
        assert not _refused(layer)  # the store has not answered yet, and nobody waits for it
        go.set()
        eventually(lambda: layer.snapshot().state is State.OPEN)
        assert told == [thread for thread in told if thread is not threading.current_thread()]

    def test_probe_whose_asker_is_cancelled_is_given_back(self) -> None:
        asked, go = threading.Event(), threading.Event()
        store = MemoryStore(replace(OPEN, until=0.0, probes=()))

        class Slow(Shaky):
            def read(self) -> tuple[Circuit, float]:
                asked.set()
                assert go.wait(BOUND_S)
                return store.read()

            def swap(self, before: Circuit, after: Circuit) -> bool:
                return store.swap(before, after)

        layer = CircuitBreaker(store=InMemory(Slow(), 60.0)).layer("orders")

        async def main() -> None:
            asking = asyncio.ensure_future(layer.enter_async())
            await eventually_async(asked.is_set)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            go.set()
            await eventually_async(lambda: store.read()[0].probe_number > OPEN.probe_number)
            await eventually_async(lambda: not store.read()[0].probes)

        asyncio.run(asyncio.wait_for(main(), BOUND_S))
        assert store.read()[0].state is State.HALF_OPEN


class TestValkey:
    def test_a_server_that_is_not_there_is_a_store_error(self) -> None:
        store = SharedByValkey("redis://127.0.0.1:1/0").store("orders")
        with pytest.raises(BreakerStoreError, match="ConnectionError"):
            store.read()
        with pytest.raises(BreakerStoreError, match="ConnectionError"):
            store.swap(Circuit(), OPEN)

    def test_what_is_no_circuit_is_a_store_error(self, url: str) -> None:
        from valkey import Valkey  # noqa: PLC0415 - as the code does

        key = next(KEYS)
        with Valkey.from_url(url, decode_responses=True) as client:
            client.set(key, "nonsense")
            with pytest.raises(BreakerStoreError, match="nonsense"):
                ValkeyStore(client, key).read()

    def test_a_forgotten_breaker_goes_and_an_isolated_one_stays(self, url: str) -> None:
        from valkey import Valkey  # noqa: PLC0415 - as above

        key = next(KEYS)
        with Valkey.from_url(url, decode_responses=True) as client:
            store = ValkeyStore(client, key)
            store.swap(Circuit(), OPEN)
            assert 0 < client.ttl(key) <= 24 * 3600
            isolated = Circuit(State.ISOLATED, 2, Signal.ISOLATED_BY_HAND)
            store.swap(OPEN, isolated)
            assert client.ttl(key) == -1

    def test_by_spec(self, url: str) -> None:
        shared = SharedByValkey(url, next(KEYS), timeout_s=5, refresh_s=0.001)
        one, other = (CircuitBreaker(Consecutive(1), store=shared).layer("orders") for _ in range(2))
        one.leave(one.enter(), OSError())
        eventually(lambda: _refused(other))

    def test_without_the_package_the_error_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "valkey", None)
        with pytest.raises(MissingRequirementError, match=r"premortem\[lab\]"):
            CircuitBreaker(store=SharedByValkey("redis://127.0.0.1/0")).layer("orders")

    def test_a_password_is_never_printed(self) -> None:
        assert "secret" not in repr(CircuitBreaker(store=SharedByValkey("redis://:secret@127.0.0.1/0")))

    @pytest.mark.parametrize("url", ["", "127.0.0.1:6379", "http://127.0.0.1", "redis://127.0.0.1:port/0", 5])
    def test_nonsense_urls(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"SharedByValkey\.url"):
            SharedByValkey(url)

    @pytest.mark.parametrize("field", ["timeout_s", "refresh_s"])
    @pytest.mark.parametrize("value", [0, -1, 999_999, "1", True, float("nan")])
    def test_nonsense_numbers(self, field: str, value: float) -> None:
        with pytest.raises(ConfigurationError, match=field):
            SharedByValkey("redis://127.0.0.1/0", **{field: value})  # type: ignore[arg-type]


finite = st.floats(0, 1e12)


@given(
    st.builds(
        Circuit, st.sampled_from(State), st.integers(0), st.none() | st.sampled_from(Signal), st.integers(0),
        st.none() | finite, finite, st.lists(st.tuples(st.integers(0), finite)).map(tuple), st.integers(0),
        st.integers(0),
    )
)  # fmt: skip
def test_a_circuit_comes_back_from_its_text(circuit: Circuit) -> None:
    assert decode(encode(circuit)) == circuit
    assert encode(decode(encode(circuit))) == encode(circuit)
