"""Measures `premortem.policies` beside its peers in one run, and prints a page of Markdown.

    .venv-bench/bin/python bench/policies.py [--quick] > page.md

What a case is: a function that returns its argument (or fails every other time, or always), guarded by one library and
called over and over; its cost is the whole call, and what is shown is that minus the bare call: the overhead. Each peer
stands in `peers/`, in one file that says what it leaves out.

How it is measured: all cases one after the other, some 4 ms each, that is a round; many rounds, each in another order,
since the speed of a machine drifts; the collector of garbage is off while a case runs. Waits of nothing are free for
all alike: `time.sleep(0)` is a system call, and some call it before the next attempt and some do not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import importlib.metadata
import inspect
import itertools
import os
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Call = Callable[[int], Any]
Batch = Callable[[int], int]  # that many calls, one after the other: nanoseconds

OURS = "premortem"
INLINE = "written inline"
LIBRARIES = {  # module in peers/: distribution
    "ours": OURS,
    "inline": "",
    "tenacity": "tenacity",
    "stamina": "stamina",
    "backoff": "backoff",
    "pybreaker": "pybreaker",
    "circuitbreaker": "circuitbreaker",
    "purgatory": "purgatory",
    "aiobreaker": "aiobreaker",
    "hyx": "hyx",
    "pyresilience": "pyresilience",
    "nopanic": "nopanic",
    "interlock": "interlock-cb",
    "resilix": "resilix",
}
ROUND_S = 0.004
THREADS = 4
STACK_BAR, INLINE_BAR, IMPORT_BAR = 0.25, 1.5, 0.5  # at most, of the fastest peer's, of the inline one's, of tenacity's


@dataclass(frozen=True)
class Case:
    """A column: a key of the adapters' SYNC and ASYNC, and what the guarded function does under it."""

    title: str
    policy: str
    function: str = "works"


CASES = (
    Case("retry", "retry"),
    Case("retry, one attempt fails", "retry", "fails once"),
    Case("breaker, closed", "breaker"),
    Case("breaker, open", "breaker", "is down"),
    Case("bulkhead", "bulkhead"),
    Case("rate limit", "rate"),
    Case("timeout", "timeout"),
    Case("full stack", "stack"),
    Case("full stack and timeout", "full"),
)
STACKS = ("stack", "full")


@dataclass
class Measured:
    """One cell: what a library takes for a case, nanoseconds a call, one figure a round."""

    library: str
    case: Case
    batch: Batch
    calls: int = 1
    runs: list[float] = field(default_factory=list)

    def calibrate(self) -> None:
        """Warm up, and find out how many calls a round has time for."""
        self.batch(100)
        per_call = min(self.batch(50) for _ in range(3)) / 50
        self.calls = max(1, int(ROUND_S * 1e9 / per_call))

    def run(self) -> None:
        """One round's share."""
        self.runs.append(self.batch(self.calls) / self.calls)


class Grid:
    """All cells of one kind, synchronous or asynchronous, and their overhead over the bare call."""

    def __init__(self, title: str, cells: Sequence[Measured], bare: Sequence[Measured]) -> None:
        self.title = title
        self.cells = cells
        self.bare = {one.case.function: one for one in bare}

    @property
    def all(self) -> list[Measured]:
        """The bare calls, too."""
        return [*self.cells, *self.bare.values()]

    def cell(self, library: str, case: Case) -> Measured | None:
        """The cell of a library, None where it does not have that policy."""
        return next((one for one in self.cells if (one.library, one.case) == (library, case)), None)

    def overhead(self, one: Measured, of: Callable[[Iterable[float]], float] = statistics.median) -> float:
        """Nanoseconds over the bare call, by the median or by the minimum."""
        # An open breaker calls nothing; what is taken off is the call that would have been.
        bare = self.bare["fails once" if one.case.function == "fails once" else "works"]
        return of(one.runs) - of(bare.runs)

    def ratio(self, one: Measured, other: Measured) -> float:
        """How many times the overhead of `other` that of `one` is."""
        return self.overhead(one) / self.overhead(other)

    def cases(self) -> list[Case]:
        """Those that somebody has."""
        return [case for case in CASES if any(one.case == case for one in self.cells)]

    def peers(self, case: Case) -> list[Measured]:
        """Everybody's but ours and the inline one, the fastest first."""
        found = [one for one in self.cells if one.case == case and one.library not in (OURS, INLINE)]
        return sorted(found, key=self.overhead)

    def table(self) -> str:
        """A row a library, a column a case."""
        cases = self.cases()
        lines = [f"| | {' | '.join(case.title for case in cases)} |", f"| --- |{' ---: |' * len(cases)}"]
        for library in dict.fromkeys(one.library for one in self.cells):
            texts = [self._text(self.cell(library, case), self.cell(OURS, case)) for case in cases]
            lines.append(f"| {library} | {' | '.join(texts)} |")
        return "\n".join(lines)

    def _text(self, one: Measured | None, ours: Measured | None) -> str:
        if one is None:
            return ""
        text = f"{self.overhead(one):,.0f} ({self.overhead(one, min):,.0f})"
        return text if ours is None or ours is one else f"{text}, {self.ratio(one, ours):,.1f}x"

    def bare_text(self) -> str:
        """What was taken off."""
        works, fails = self.bare["works"], self.bare["fails once"]
        return (
            f"Bare call {statistics.median(works.runs):,.0f} ({min(works.runs):,.0f}); two calls of which the first "
            f"fails, caught by hand, {statistics.median(fails.runs):,.0f} ({min(fails.runs):,.0f})."
        )


def free_waits() -> None:
    """Make a wait of nothing free for everybody; before anybody is imported, since some keep the function."""
    sleep, sleep_async = time.sleep, asyncio.sleep

    def free(seconds: float) -> None:
        if seconds:
            sleep(seconds)

    async def free_async(delay: float, result: object = None) -> object:
        return await sleep_async(delay, result) if delay else result

    time.sleep = free  # type: ignore[assignment]
    asyncio.sleep = free_async  # type: ignore[assignment]


class Function:
    """The guarded function in its three moods; counts its calls, so that a guard's work can be checked."""

    def __init__(self, mood: str, *, asynchronous: bool) -> None:
        self.calls = 0
        self.plain: Any = {"works": self._works, "fails once": self._fails_once, "is down": self._is_down}[mood]()
        if asynchronous:
            self.plain = self._async(mood)

    def _works(self) -> Call:
        def work(x: int) -> int:
            return x

        return work

    def _fails_once(self) -> Call:
        def work(x: int) -> int:
            self.calls += 1
            if self.calls & 1:
                raise ValueError(x)
            return x

        return work

    def _is_down(self) -> Call:
        def work(x: int) -> int:
            self.calls += 1
            raise ValueError(x)

        return work

    def _async(self, mood: str) -> Call:
        async def works(x: int) -> int:
            return x

        async def fails_once(x: int) -> int:
            self.calls += 1
            if self.calls & 1:
                raise ValueError(x)
            return x

        async def is_down(x: int) -> int:
            self.calls += 1
            raise ValueError(x)

        return {"works": works, "fails once": fails_once, "is down": is_down}[mood]


def batch_of(call: Call) -> Batch:
    """The loop around a call that succeeds."""

    def batch(calls: int) -> int:
        turns = itertools.repeat(None, calls)
        began = time.perf_counter_ns()
        for _ in turns:
            call(1)
        return time.perf_counter_ns() - began

    return batch


def batch_of_failing(call: Call) -> Batch:
    """The loop around a call that may fail."""

    def batch(calls: int) -> int:
        turns = itertools.repeat(None, calls)
        began = time.perf_counter_ns()
        for _ in turns:
            try:
                call(1)
            except Exception:  # noqa: BLE001 - any rejection; and its price is what is measured
                continue
        took = time.perf_counter_ns() - began
        forget(call)
        return took

    return batch


def batch_of_async(call: Call, loop: asyncio.AbstractEventLoop) -> Batch:
    """As `batch_of`; every batch is one task."""

    async def batch(calls: int) -> int:
        turns = itertools.repeat(None, calls)
        began = time.perf_counter_ns()
        for _ in turns:
            await call(1)
        return time.perf_counter_ns() - began

    return lambda calls: loop.run_until_complete(batch(calls))


def batch_of_failing_async(call: Call, loop: asyncio.AbstractEventLoop) -> Batch:
    """As `batch_of_failing`."""

    async def batch(calls: int) -> int:
        turns = itertools.repeat(None, calls)
        began = time.perf_counter_ns()
        for _ in turns:
            try:
                await call(1)
            except Exception:  # noqa: BLE001 - as above
                continue
        took = time.perf_counter_ns() - began
        forget(await_in(call))
        return took

    def await_in(call: Call) -> Call:
        def one(x: int) -> None:
            call(x).send(None)

        return one

    return lambda calls: loop.run_until_complete(batch(calls))


def forget(call: Call) -> None:
    """Drop the traceback of a rejection: purgatory raises the same exception again and again, and it grows."""
    try:
        call(1)
    except Exception as error:  # noqa: BLE001 - as above
        error.__traceback__ = None


def in_step(batch: Batch) -> Batch:
    """Two calls count as one: the one that fails, and the one after it."""
    return lambda calls: batch(2 * calls)


def checked(call: Call, function: Function, case: Case, run: Callable[[Any], Any]) -> None:
    """Make sure that the guard does what its column says, and leave it in the state that is measured."""
    if case.function == "is down":
        for _ in range(20):
            forget(lambda x: run(call(x)))
        before = function.calls
        for _ in range(5):
            try:
                run(call(1))
            except ValueError as error:
                if type(error) is ValueError:
                    raise AssertionError("the function was reached, though it is down") from error
            except Exception:  # noqa: BLE001 - the rejection, each library's own
                pass
        assert function.calls == before, "the breaker is not open"
        return
    for turn in range(1, 4):
        assert run(call(1)) == 1
        if case.function == "fails once":
            assert function.calls == 2 * turn, "it did not try again"


def grid(title: str, loop: asyncio.AbstractEventLoop, *, asynchronous: bool) -> Grid:
    """Every library's every case, checked and warm."""

    async def guarded(decorator: Callable[[], Any], function: Function) -> Any:  # noqa: ANN401 - as the library made it
        return decorator()(function.plain)  # in a coroutine: hyx wants a running loop to decorate in

    def run(result: Any) -> Any:  # noqa: ANN401 - whatever comes back
        return loop.run_until_complete(result) if inspect.isawaitable(result) else result

    def batch(call: Call, *, may_fail: bool) -> Batch:
        if asynchronous:
            return batch_of_failing_async(call, loop) if may_fail else batch_of_async(call, loop)
        return batch_of_failing(call) if may_fail else batch_of(call)

    cells = []
    for module, distribution in LIBRARIES.items():
        adapter = importlib.import_module(f"peers.{module}")
        policies = adapter.ASYNC if asynchronous else adapter.SYNC
        for case in CASES:
            if case.policy not in policies:
                continue
            function = Function(case.function, asynchronous=asynchronous)
            call = loop.run_until_complete(guarded(policies[case.policy], function))
            checked(call, function, case, run)
            cells.append(Measured(distribution or INLINE, case, batch(call, may_fail=case.function == "is down")))
    works = Function("works", asynchronous=asynchronous).plain
    fails = Function("fails once", asynchronous=asynchronous).plain
    bare = [
        Measured("bare", Case("bare", "", "works"), batch(works, may_fail=False)),
        Measured("bare", Case("bare", "", "fails once"), in_step(batch(fails, may_fail=True))),
    ]
    made = Grid(title, cells, bare)
    for one in made.all:
        one.calibrate()
    return made


def interleaved(cells: Sequence[Measured], rounds: int) -> None:
    """Every cell once a round, each round in another order."""
    order, chance = list(cells), random.Random(1)
    for number in range(1, rounds + 1):
        chance.shuffle(order)
        gc.collect()
        gc.disable()
        try:
            for one in order:
                one.run()
        finally:
            gc.enable()
        say(f"round {number} of {rounds}")


@dataclass
class Threaded:
    """One breaker or bulkhead with one thread and with several in it, nanoseconds of wall clock a call."""

    library: str
    policy: str
    call: Call
    calls: int
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)

    def run(self) -> None:
        """One round's share."""
        self.alone.append(self._wall_ns(1))
        self.together.append(self._wall_ns(THREADS))

    def _wall_ns(self, threads: int) -> float:
        share = self.calls // threads
        start = threading.Barrier(threads + 1)

        def work() -> None:
            call, turns = self.call, itertools.repeat(None, share)
            start.wait()
            for _ in turns:
                call(1)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for one in workers:
            one.start()
        start.wait()
        began = time.perf_counter_ns()
        for one in workers:
            one.join()
        return (time.perf_counter_ns() - began) / (share * threads)


def threaded(rounds: int) -> str:
    """Threads through one closed breaker, and through one bulkhead with room for all."""
    found = []
    for module, distribution in LIBRARIES.items():
        policies = importlib.import_module(f"peers.{module}").SYNC
        for policy in ("breaker", "bulkhead"):
            if policy in policies:
                call = policies[policy]()(Function("works", asynchronous=False).plain)
                probe = Measured(distribution, CASES[0], batch_of(call))
                probe.calibrate()
                found.append(Threaded(distribution or INLINE, policy, call, probe.calls * 12))  # some 50 ms
    for number in range(1, rounds + 1):
        for one in found:
            one.run()
        say(f"threads, round {number} of {rounds}")
    lines = [
        f"| | breaker, 1 thread | breaker, {THREADS} threads | bulkhead, 1 thread | bulkhead, {THREADS} threads |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for library in dict.fromkeys(one.library for one in found):
        texts = []
        for policy in ("breaker", "bulkhead"):
            cell = next((one for one in found if (one.library, one.policy) == (library, policy)), None)
            columns = (cell.alone, cell.together) if cell else ((), ())
            texts += [f"{statistics.median(runs):,.0f} ({min(runs):,.0f})" if runs else "" for runs in columns]
        lines.append(f"| {library} | {' | '.join(texts)} |")
    return "\n".join(lines)


def loads_asyncio() -> bool:
    """Whether `import premortem.policies` brings asyncio along, which costs more than all of the rest."""
    asks = "import premortem.policies, sys; sys.exit('asyncio' in sys.modules)"
    return subprocess.run([sys.executable, "-c", asks], check=False).returncode != 0


def imports(rounds: int) -> tuple[str, float]:
    """What an import adds to a process that does nothing, milliseconds; and ours as a share of tenacity's."""
    programs: dict[str, list[float]] = {
        "pass": [],
        "import premortem.policies": [],
        # Names are loaded when they are first used: what a service pays that uses the usual ones.
        "from premortem.policies import Policy, Retry, CircuitBreaker, Bulkhead, Timeout": [],
        "import tenacity": [],
    }
    for number in range(rounds + 1):
        for program, runs in programs.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            if number:  # the first one warms the disk
                runs.append((time.perf_counter() - began) * 1000)
        say(f"imports, round {number} of {rounds}")
    base = programs["pass"]
    lines = ["| `python -c` | ms, median (min) | over `pass` |", "| --- | ---: | ---: |"]
    added = {}
    for program, runs in programs.items():
        added[program] = statistics.median(runs) - statistics.median(base)
        over = "" if runs is base else f"{added[program]:.1f} ({min(runs) - min(base):.1f})"
        lines.append(f"| `{program}` | {statistics.median(runs):.1f} ({min(runs):.1f}) | {over} |")
    return "\n".join(lines), added["import premortem.policies"] / added["import tenacity"]


def verdict(claim: str, ratio: float, bar: float, rest: str) -> str:
    """A line: the bar, whether it is met, and by how much it is not."""
    word = "met" if ratio <= bar else f"**not met** by {ratio / bar:.2f}x"
    return f"- {claim}: {word} ({rest})"


def stack_bar(made: Grid, case: Case) -> str:
    """Ours beside the fastest peer's, whatever that one leaves out."""
    ours, peers = made.cell(OURS, case), made.peers(case)
    claim = f"{made.title}, {case.title}: at most {STACK_BAR:g} of the fastest peer's"
    if ours is None:
        return f"- {claim}: not measured"
    ratio = made.ratio(ours, peers[0])
    return verdict(claim, ratio, STACK_BAR, f"{ratio:.2f} of {peers[0].library}'s")


def below_bar(claim: str, grids: Sequence[Grid], cases: Sequence[Case]) -> str:
    """Ours beside the fastest peer's in each of `cases`: below it."""
    ratios = []
    for made in grids:
        for case in cases:
            ours, peers = made.cell(OURS, case), made.peers(case)
            if ours and peers:
                ratios.append((made.ratio(ours, peers[0]), f"{made.title} {case.title}", peers[0].library))
    return worst_of(claim, ratios, 1)


def inline_bar(grids: Sequence[Grid]) -> str:
    """Ours beside what is written by hand, where nothing fails."""
    ratios = []
    for made in grids:
        for case in made.cases():
            ours, inline = made.cell(OURS, case), made.cell(INLINE, case)
            if ours and inline and case.function == "works":
                ratios.append((made.ratio(ours, inline), f"{made.title} {case.title}", "the inline one"))
    return worst_of(f"success path at most {INLINE_BAR:g} of what is written inline", ratios, INLINE_BAR)


def worst_of(claim: str, ratios: Sequence[tuple[float, str, str]], bar: float) -> str:
    """One line for many cases: all that are over the bar, or the one nearest to it."""
    if not ratios:
        return f"- {claim}: not measured"
    over = [one for one in ratios if one[0] > bar]
    told = "; ".join(
        f"{where}: {ratio:.2f} of {whose}'s" for ratio, where, whose in sorted(over or [max(ratios)])[::-1]
    )
    return verdict(claim, max(ratios)[0], bar, told if over else f"nearest: {told}")


def bars(grids: Sequence[Grid], imported: float) -> str:
    """The issue's bars, one line each."""
    stacks = [case for case in CASES if case.policy in STACKS]
    single = [case for case in CASES if case.policy not in STACKS and case.function != "is down"]
    opened = [case for case in CASES if case.function == "is down"]
    lines = [stack_bar(made, case) for made in grids for case in stacks if case in made.cases()]
    lines += [
        below_bar("every single policy below every peer's", grids, single),
        below_bar("the open breaker's rejection below every peer's", grids, opened),
        inline_bar(grids),
        verdict(
            f"`import premortem.policies` at most {IMPORT_BAR:g} of `import tenacity`",
            imported,
            IMPORT_BAR,
            f"{imported:.2f} of it",
        ),
        f"- `import premortem.policies` leaves asyncio alone: {'**not met**' if loads_asyncio() else 'met'}",
    ]
    return "\n".join(lines)


def who() -> str:
    """Each library with what its adapter says of it."""
    lines = []
    for module, distribution in LIBRARIES.items():
        said = " ".join((importlib.import_module(f"peers.{module}").__doc__ or "").split())
        version = f" {importlib.metadata.version(distribution)}" if distribution else ""
        lines.append(f"- **{distribution or INLINE}**{version}: {said}")
    return "\n".join(lines)


def say(what: str) -> None:
    """Progress, where it is not part of the page."""
    sys.stderr.write(f"\r{what:60}")
    sys.stderr.flush()


def main() -> None:
    """Measure everything; the page goes to standard output."""
    parser = argparse.ArgumentParser(description="Measure premortem.policies beside its peers.")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see whether it works")
    quick = parser.parse_args().quick
    free_waits()
    loop = asyncio.new_event_loop()
    grids = [grid("sync", loop, asynchronous=False), grid("async", loop, asynchronous=True)]
    rounds = 5 if quick else 60
    interleaved([one for made in grids for one in made.all], rounds)
    loop.close()
    threads = threaded(3 if quick else 15)
    imported, share = imports(5 if quick else 40)
    sys.stderr.write("\n")
    sync, async_ = grids
    print(f"""\
# What policies cost

Written by `bench/policies.py` on {datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, \
{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {rounds} rounds.

Nanoseconds that a guard adds to the call, median (minimum), and how many times ours that is. Machines differ and drift:
trust the ratios of one run. An empty cell: the library has no such policy.

## Bars

{bars(grids, share)}

## Synchronous

{sync.table()}

{sync.bare_text()}

## Asynchronous

{async_.table()}

{async_.bare_text()}

## Threads

Nanoseconds of wall clock a call, bare call included, through one closed breaker and one bulkhead with room for all.

{threads}

## Import

{imported}

## Who

{who()}""")


if __name__ == "__main__":
    main()
