"""A process for every task: what an executor owes its callers, and nothing left of a task that misbehaves.

Tasks travel as pickles into a process that knows nothing of this file, so they are built-in functions: `eval` of an
expression, `exec` of a text.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor, as_completed, wait
from pathlib import Path

import pytest

from premortem.errors import WorkerDiedError
from premortem.experiment.isolation import IsolatedFuture, IsolatingExecutor
from premortem.experiment.limits import MIB, Limits

Eventually = Callable[..., None]
Lone = Callable[[IsolatingExecutor], dict[int, str]]

TIME_S = 2.0
LIMITS = Limits(time_s=TIME_S, memory_bytes=300 * MIB, processes=20, output_bytes=1000)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def executor(module_mark: str) -> Iterator[IsolatingExecutor]:
    assert module_mark
    with IsolatingExecutor(2, LIMITS) as executor:
        yield executor


@pytest.fixture(params=["isolating", "threads"])
def any_executor(request: pytest.FixtureRequest, executor: IsolatingExecutor) -> Iterator[Executor]:
    """Ours and one that everybody trusts: held to the same contract."""
    if request.param == "isolating":
        yield executor
        return
    with ThreadPoolExecutor(2) as threads:
        yield threads


def do(executor: IsolatingExecutor, source: str, name: str = "culprit") -> IsolatedFuture[None]:
    return executor.submit_named(name, exec, "import os, signal, subprocess, sys, time\n" + textwrap.dedent(source), {})


# What every executor owes its callers.


def test_a_value_comes_back(any_executor: Executor) -> None:
    assert any_executor.submit(eval, "{'a': [1, 2.5, None, b'x']}").result() == {"a": [1, 2.5, None, b"x"]}
    assert any_executor.submit(sorted, [3, 1, 2], reverse=True).result() == [3, 2, 1]


def test_an_exception_comes_back(any_executor: Executor) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        any_executor.submit(eval, "1/0").result()
    error = any_executor.submit(int, "x").exception()
    assert isinstance(error, ValueError)


def test_results_keep_their_order(any_executor: Executor) -> None:
    assert list(any_executor.map(pow, range(20), [2] * 20)) == [number**2 for number in range(20)]


def test_many_tasks_are_all_done(any_executor: Executor) -> None:
    futures = {any_executor.submit(eval, f"{number} * 2"): number for number in range(60)}
    assert {futures[future]: future.result() for future in as_completed(futures)} == {n: n * 2 for n in range(60)}


def test_a_large_result_comes_back_whole(any_executor: Executor) -> None:
    assert any_executor.submit(random.Random(1).randbytes, 5 * MIB).result() == random.Random(1).randbytes(5 * MIB)


@pytest.mark.parametrize("kind", [IsolatingExecutor, ThreadPoolExecutor])
def test_a_shutdown_that_cancels_leaves_nobody_waiting(kind: Callable[[int], Executor]) -> None:
    executor = kind(1)
    futures = [executor.submit(eval, "__import__('time').sleep(0.2)") for _ in range(4)]
    executor.shutdown(wait=True, cancel_futures=True)
    if kind is IsolatingExecutor:  # the standard library's own do not tell those who `wait`
        assert wait(futures, timeout=5).not_done == set()
    assert all(future.done() for future in futures)
    with pytest.raises(CancelledError):
        futures[-1].result(timeout=0)
    with pytest.raises(RuntimeError):
        executor.submit(eval, "1")


def test_a_task_that_waits_can_be_cancelled() -> None:
    with IsolatingExecutor(1) as executor:
        running = executor.submit(eval, "__import__('time').sleep(0.2)")
        waiting = executor.submit(eval, "1")
        assert waiting.cancel()
        assert running.result() is None
        assert waiting.cancelled()


# What ours adds.


def test_every_task_has_a_process_of_its_own(executor: IsolatingExecutor) -> None:
    pids = {executor.submit(os.getpid).result() for _ in range(4)}
    assert len(pids) == 4
    assert os.getpid() not in pids


def test_an_exception_that_cannot_travel_comes_back_as_its_text(executor: IsolatingExecutor) -> None:
    source = """
        class Picky(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")
        raise Picky("this", "that")
    """
    error = do(executor, source).exception()
    assert type(error) is RuntimeError
    assert "Picky: this and that" in str(error)


def test_a_result_that_cannot_travel_is_an_exception(executor: IsolatingExecutor) -> None:
    error = executor.submit(eval, "lambda: 0").exception()
    assert "lambda" in str(error)


def test_a_task_that_cannot_travel_is_refused_at_once(executor: IsolatingExecutor) -> None:
    with pytest.raises((AttributeError, TypeError)):
        executor.submit(threading.Lock().acquire)


def test_a_killed_worker_takes_nobody_with_it(executor: IsolatingExecutor) -> None:
    futures = {
        number: do(executor, "os.kill(os.getpid(), signal.SIGKILL)", "task 17")
        if number == 17
        else executor.submit(eval, str(number))
        for number in range(60)
    }
    with pytest.raises(WorkerDiedError, match="the process of task 17 died: killed by SIGKILL") as caught:
        futures.pop(17).result()
    assert caught.value.task == "task 17"
    assert {number: future.result() for number, future in futures.items()} == {n: n for n in range(60) if n != 17}


def test_the_ending_tells_how_it_went(executor: IsolatingExecutor) -> None:
    future = do(executor, "print('hello'); sys.stderr.write('and more'); time.sleep(0.1)")
    assert future.exception() is None
    ending = future.ending
    assert (ending.status, ending.exceeded, ending.left_behind) == (0, "", ())
    assert (sorted(ending.output.split()), ending.output_bytes) == (["and", "hello", "more"], 14)
    assert 0.1 <= ending.elapsed_s < TIME_S
    assert 0 < ending.peak_bytes < LIMITS.memory_bytes
    assert do(executor, "raise KeyError").exception() is not None


MISDEEDS: dict[str, tuple[str, str]] = {
    "hangs": ("time.sleep(60)", "limit of time"),
    "spins": ("while True: pass", "limit of time"),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "limit of time"),
    "ignores every signal": (
        "for n in set(signal.valid_signals()) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
        "limit of time",
    ),
    "exhausts memory": ("held = []\nwhile True: held.append(bytearray(os.urandom(1 << 20)) * 8)", "limit of memory"),
    "forks without end": (
        "end = time.monotonic() + 10\nwhile time.monotonic() < end:\n    if os.fork(): time.sleep(0.005)",
        "limit of processes",
    ),
    "forks as fast as it can": (
        "end = time.monotonic() + 5\nwhile time.monotonic() < end: os.fork()\nos._exit(0)",
        "limit of processes",
    ),
    "starts many": ("for _ in range(50): subprocess.Popen(['sleep', '60'])\ntime.sleep(60)", "limit of processes"),
    "leaves without a result": ("os._exit(0)", "exit status 0"),
    "leaves with a status": ("os._exit(7)", "exit status 7"),
    "kills itself": ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
    "crashes": ("import faulthandler; faulthandler.disable(); faulthandler._sigsegv()", "killed by SIGSEGV"),
    "kills its session": ("os.killpg(0, signal.SIGTERM)", "killed by SIGTERM"),
    "kills its warden": ("os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)", "its warden was killed"),
    "kills its warden and leaves a family": (
        """
        for _ in range(3): subprocess.Popen(['sleep', '60'], start_new_session=True)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
        """,
        "its warden was killed",
    ),
    "stops its warden's hearing": ("os.closerange(0, 100); time.sleep(60)", "limit of time"),
    "closes all its files": ("os.closerange(0, 100)", "exit status 1"),
}


@linux_only
@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_task_that_misbehaves_is_ended_and_named(
    executor: IsolatingExecutor, misdeed: str, lone_processes: Lone, eventually: Eventually
) -> None:
    source, cause = MISDEEDS[misdeed]
    bad, good = do(executor, source), [executor.submit(eval, str(number)) for number in range(4)]
    with pytest.raises(WorkerDiedError, match=f"the process of culprit died: .*{cause}"):
        bad.result(timeout=15)
    assert [future.result(timeout=15) for future in good] == [0, 1, 2, 3]
    eventually(lambda: lone_processes(executor), {})


HARMLESS: dict[str, str] = {
    "calls sys.exit": "sys.exit(3)",
    "closes its standard streams": "print('x'); sys.stdout.close(); sys.stderr = None; os.close(1)",
    "spawns threads": "import threading\nfor _ in range(20): threading.Thread(target=time.sleep, args=(60,)).start()",
    "forks and both come back": "os.fork()",
    "changes folder and handlers": "os.chdir('/'); signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "registers an exit that hangs": "import atexit; atexit.register(time.sleep, 60)",
}


@linux_only
@pytest.mark.parametrize("habit", HARMLESS)
def test_a_bad_habit_costs_no_result(
    executor: IsolatingExecutor, habit: str, lone_processes: Lone, eventually: Eventually
) -> None:
    error = do(executor, HARMLESS[habit]).exception(timeout=15)
    assert repr(error) == ("SystemExit(3)" if "exit(3)" in HARMLESS[habit] else "None")
    eventually(lambda: lone_processes(executor), {})


@linux_only
@pytest.mark.parametrize(
    "source",
    [
        "subprocess.Popen(['sleep', '61'])",
        "subprocess.Popen(['sleep', '61'], start_new_session=True)",
        "subprocess.run(['sh', '-c', 'setsid sleep 61 & setsid sleep 61 &'])",
        "if os.fork() == 0: os.setsid(); os.fork(); os.closerange(0, 3); os.execlp('sleep', 'sleep', '61')",
    ],
    ids=["child", "session", "orphans", "daemon"],
)
def test_a_child_that_is_left_behind_is_killed_and_named(
    executor: IsolatingExecutor, source: str, lone_processes: Lone, eventually: Eventually
) -> None:
    future = do(executor, source)
    assert future.exception(timeout=15) is None
    assert future.ending.left_behind
    assert all("sleep 61" in command for command in future.ending.left_behind)
    eventually(lambda: lone_processes(executor), {})


@linux_only
def test_children_that_are_about_to_end_are_given_the_time(executor: IsolatingExecutor) -> None:
    future = do(executor, "subprocess.Popen(['sleep', '0.3'], start_new_session=True)")
    assert future.exception(timeout=15) is None
    assert future.ending.left_behind == ()


def test_of_megabytes_of_output_the_tail_is_kept(executor: IsolatingExecutor) -> None:
    future = do(executor, "for _ in range(5000): print('x' * 1000)\nprint('the end')")
    assert future.exception(timeout=15) is None
    assert future.ending.output_bytes == 5000 * 1001 + 8
    assert len(future.ending.output) == LIMITS.output_bytes
    assert future.ending.output.endswith("x\nthe end\n")


@linux_only
def test_forks_that_share_their_memory_do_not_exhaust_it(executor: IsolatingExecutor) -> None:
    source = """
        held = os.urandom(100 << 20)
        for _ in range(5):
            if os.fork() == 0:
                time.sleep(0.3)
                os._exit(0)
        time.sleep(0.3)
    """
    future = do(executor, source)
    assert future.exception(timeout=15) is None
    assert future.ending.peak_bytes < LIMITS.memory_bytes


@linux_only
def test_a_fork_server_that_was_killed_is_started_again() -> None:
    with IsolatingExecutor(2, LIMITS) as executor:
        for _ in range(3):
            running = executor.submit(eval, "__import__('time').sleep(0.3) or 'done'")
            assert executor.submit(eval, "1").result() == 1
            process = executor._server._process
            assert process
            process.kill()
            assert executor.submit(eval, "2").result() == 2
            assert executor._server._process is not process
            assert running.result() == "done"  # its warden needs no fork server
    assert executor._server._process is None


@linux_only
def test_a_shutdown_that_cancels_kills_what_runs(lone_processes: Lone, eventually: Eventually) -> None:
    executor = IsolatingExecutor(2)
    futures = [do(executor, "subprocess.Popen(['sleep', '60']); time.sleep(60)") for _ in range(2)]
    eventually(
        lambda: len([seen for seen in lone_processes(executor).values() if "sleep 60" in seen]) >= 2, wanted=True
    )
    executor.shutdown(cancel_futures=True)
    for future in futures:
        assert isinstance(future.exception(timeout=5), WorkerDiedError)
    eventually(lambda: lone_processes(executor).keys() - executor_families(), set())


def executor_families() -> set[int]:
    """The module's own fork server, which stays."""
    return {int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


def test_interrupts_are_the_owners_to_answer(executor: IsolatingExecutor) -> None:
    assert executor.submit(eval, "0").result() == 0  # it is up
    server = executor._server._process
    assert server
    server.send_signal(signal.SIGINT)
    assert executor.submit(eval, "1").result() == 1
    assert executor._server._process is server
