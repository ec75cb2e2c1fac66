"""A process of its own for every task, behind the `concurrent.futures.Executor` that everybody knows.

Law: a task that dies takes nobody with it and is named. (The standard pool breaks when one worker is killed and
fails every task that was waiting.) A future of this executor carries its task's `Ending` besides its result.
"""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from premortem.errors import WorkerDiedError
from premortem.experiment import wire
from premortem.experiment.limits import Limits
from premortem.model.codec import decode, encode

_ATTEMPTS = 3  # to hand a task to a warden that begins it
_ANSWERED = (0, 1)  # the exit status of a worker that has written its whole answer: it returned, or it raised

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task's process ended.

    `status` is the exit status, or minus the signal's number; None when nobody could see it. `exceeded` names the
    limit that was passed ("time", "memory", "processes"); `left_behind` the processes that had to be killed.
    """

    status: int | None = None
    exceeded: str = ""
    left_behind: tuple[str, ...] = ()
    output: str = ""
    output_bytes: int = 0
    peak_bytes: int = 0
    elapsed_s: float = 0.0

    @property
    def cause(self) -> str:
        """Why it ended, in words."""
        if self.exceeded:
            return f"ended for passing its limit of {self.exceeded}"
        if self.status is None:
            return "its warden was killed"
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"


class IsolatedFuture(Future[T]):
    """A future that also tells how its process ended, once it has."""

    def __init__(self) -> None:
        super().__init__()
        self.ending = Ending()


class ForkServer:
    """The owner's side of the fork server: starts it, hands it channels, starts it again should it have died."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start it if it does not run, without waiting for its imports."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "premortem.experiment.forkserver", str(theirs.fileno()), *self._preload],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def channel(self) -> socket.socket:
        """A channel to a new warden."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                self._hand_over(theirs)
            except OSError:  # it died; its wardens live on, and a new one serves the next
                self.stop()
                self._hand_over(theirs)
        return ours

    def stop(self) -> None:
        """Let it end; tasks that run are their wardens' business."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.wait()
        self._control = self._process = None

    def _hand_over(self, channel: socket.socket) -> None:
        self.start()
        assert self._control is not None
        socket.send_fds(self._control, [b"+"], [channel.fileno()])


@dataclass
class IsolatingExecutor(Executor):
    """Runs every task in a process of its own, `jobs` at a time, within `limits`.

    `preload` names modules that the tasks will need, imported once; `on_start` hears each task's name when it begins,
    in a thread of ours. Functions, arguments and results travel as pickles. A task that raises gives its exception;
    one whose process dies gives WorkerDiedError with its name.
    """

    jobs: int
    limits: Limits = field(default_factory=Limits)
    preload: Sequence[str] = ()
    on_start: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._server = ForkServer(self.preload)
        self._server.start()
        self._threads = ThreadPoolExecutor(self.jobs, thread_name_prefix="premortem-task")
        self._channels: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> IsolatedFuture[T]:
        """Run `fn(*args, **kwargs)` in a process of its own."""
        return self.submit_named(getattr(fn, "__qualname__", repr(fn)), fn, *args, **kwargs)

    def submit_named(self, name: str, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> IsolatedFuture[T]:  # noqa: ANN401 - as submit
        """Submit under a name of its own, by which an error will call the task."""
        payload = pickle.dumps((fn, args, kwargs))
        future: IsolatedFuture[T] = IsolatedFuture()
        attendance = self._threads.submit(self._attend, name, payload, future)
        attendance.add_done_callback(lambda done: _cancel(future) if done.cancelled() else None)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - Executor's
        """End; with `cancel_futures` the tasks that run are killed, too."""
        if cancel_futures:
            with self._lock:
                self._closed = True
                for channel in self._channels:
                    with suppress(OSError):
                        channel.shutdown(socket.SHUT_WR)
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._server.stop()

    def _attend(self, name: str, payload: bytes, future: IsolatedFuture[T]) -> None:
        """One thread a task: hand it over, wait for the warden's word."""
        if not future.set_running_or_notify_cancel():
            return
        try:
            self.on_start(name)
            future.ending, result = self._run(payload)
            went_well, answer = _opened(name, future.ending, result)
        except BaseException as error:  # noqa: BLE001 - a future carries whatever it was
            future.set_exception(error)
            return
        if went_well:
            future.set_result(answer)
        else:
            future.set_exception(answer)

    def _run(self, payload: bytes) -> tuple[Ending, bytes]:
        for _ in range(_ATTEMPTS):
            if (answer := self._attempt(payload)) is not None:
                return answer
        return Ending(), b""

    def _attempt(self, payload: bytes) -> tuple[Ending, bytes] | None:
        """Hand a task over and wait for its end; None when the fork server died before anybody took it."""
        with self._server.channel() as channel:
            with self._lock:
                if self._closed:
                    return Ending(exceeded="the run was ended"), b""
                self._channels.add(channel)
            try:
                wire.send(channel, {"limits": encode(self.limits)}, payload)
                begun = wire.receive(channel)
                answer = wire.receive(channel)
            except OSError:  # the warden is gone before it could read
                begun = answer = None
            finally:
                with self._lock:
                    self._channels.discard(channel)
        if begun is None:
            return None
        if answer is None:
            return Ending(), b""
        head, result = answer
        return decode(Ending, head, "the warden's word"), result


def _cancel(future: Future[Any]) -> None:
    """A task that will not run any more: whoever waits for it has to hear so."""
    if future.cancel():
        future.set_running_or_notify_cancel()


def _opened(name: str, ending: Ending, result: bytes) -> tuple[bool, Any]:
    """Whether the task went well, and its value or exception. WorkerDiedError when it never came to one."""
    if not result or ending.exceeded or ending.status not in _ANSWERED:
        raise WorkerDiedError(name, ending.cause)
    opened: tuple[bool, Any] = pickle.loads(result)  # noqa: S301 - from our own worker, over our own socket
    return opened
