"""Threads in which synchronous calls run that somebody waits for only so long.

Python cannot stop a thread. A call that is left because its time is over goes on to its end in its worker, and what it
answers is thrown away; only the caller is free. So there is a bound on how many such calls may be going on at once:
beyond it calls are rejected, instead of a thread being lost with each one.

A worker is a daemon, is used again and again, and runs a call in a copy of the caller's context.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

from premortem.policies.rejections import RejectedError

KEPT = 16
"""So many idle workers are kept."""
IDLE_S = 30.0
"""Seconds after which an idle worker ends."""
ABANDONED_AT_MOST = 256
"""So many calls may be going on that nobody waits for: 256 threads are about 2 GB of address space, 30 MB of memory."""


class Job:
    """One call in a worker: `result` or `error` once it has ended."""

    __slots__ = ("_args", "_context", "_function", "_kwargs", "_tell", "abandoned", "ended", "error", "result")

    def __init__(
        self,
        tell: Callable[[Job], None],
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._function, self._args, self._kwargs = function, args, kwargs
        self._tell = tell
        self._context = copy_context()
        self.abandoned = self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call, in the worker; whatever is raised is the caller's affair."""
        try:
            self.result = self._context.run(self._function, *self._args, **self._kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again by `answer`, in the caller's thread
            self.error = error

    def tell(self) -> None:
        """Say that the call has ended."""
        self._tell(self)

    def answer(self) -> Any:
        """What the call returned; raises what it raised."""
        if self.error is None:
            return self.result
        try:
            raise self.error
        finally:
            self.error = None  # else the traceback holds this frame, and this frame the error


class Workers:
    """Runs jobs, each in a thread that does nothing else meanwhile."""

    def __init__(self, kept: int = KEPT, idle_s: float = IDLE_S, abandoned_at_most: int = ABANDONED_AT_MOST) -> None:
        self.kept = kept
        self.idle_s = idle_s
        self.abandoned_at_most = abandoned_at_most
        self.abandoned = 0
        self.idle: deque[_Worker] = deque()  # append and pop are atomic: a worker is handed to one caller only
        self._lock = threading.Lock()

    def start(self, policy: str, job: Job) -> None:
        """Begin `job`; RejectedError when too many abandoned calls are still going on."""
        if self.abandoned >= self.abandoned_at_most:
            raise RejectedError(
                policy,
                f"{self.abandoned} calls that were left after their time are still going on; "
                "give the function itself a timeout",
            )
        try:
            worker = self.idle.pop()
        except IndexError:
            worker = _Worker(self)
            threading.Thread(target=worker.work, name="premortem-worker", daemon=True).start()
        worker.job = job
        worker.wake.release()

    def call(
        self, policy: str, limit_s: float, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Job | None:
        """Call in a worker and wait for up to `limit_s` seconds: the job that has ended, or None after that time."""
        over = threading.Lock()
        over.acquire()
        job = Job(lambda _job: over.release(), function, args, kwargs)
        self.start(policy, job)
        try:
            in_time = over.acquire(timeout=limit_s)
        except BaseException:  # KeyboardInterrupt: the caller goes, the call goes on
            self.abandon(job)
            raise
        return job if in_time or not self.abandon(job) else None

    def abandon(self, job: Job) -> bool:
        """Wait for `job` no longer; False when it has ended already."""
        with self._lock:
            if job.ended or job.abandoned:
                return not job.ended
            job.abandoned = True
            self.abandoned += 1
            return True

    def end(self, job: Job) -> None:
        """Note that `job` has ended, before its caller hears of it."""
        with self._lock:
            job.ended = True
            if job.abandoned:
                self.abandoned -= 1

    def forget(self) -> None:
        """Begin anew, in the child of a fork: it has no threads but its own."""
        self.idle.clear()
        self.abandoned = 0
        self._lock = threading.Lock()


class _Worker:
    """One thread. `wake` is released when a job has been laid into `job`."""

    __slots__ = ("_workers", "job", "wake")

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.job: Job | None = None
        self.wake = threading.Lock()
        self.wake.acquire()

    def work(self) -> None:
        workers = self._workers
        while True:
            if not self.wake.acquire(timeout=workers.idle_s):
                try:
                    workers.idle.remove(self)
                except ValueError:  # somebody has just taken this worker, and is about to wake it
                    continue
                return
            job, self.job = self.job, None
            assert job is not None
            job.run()
            workers.end(job)
            stays = len(workers.idle) < workers.kept
            if stays:  # before the caller hears of it, so that its next call finds this worker
                workers.idle.append(self)
            job.tell()
            del job  # an idle worker holds neither arguments nor results
            if not stays:
                return


WORKERS = Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.forget)
