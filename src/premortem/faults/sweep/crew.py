"""The workers of a sweep: hands out tasks, takes answers as they come, and leaves none of them behind."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from premortem.errors import ConfigurationError, FaultError, WorkerDiedError
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.trial import Answer, Task
from premortem.model.codec import decode, encode

_GOODBYE_S = 15.0  # more than a worker's own longest way out
_TAIL_BYTES = 2000


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    heard: bytes = b""
    task: Task | None = None


class Crew:
    """`plan.jobs` workers, each with a folder of its own below a scratch folder that goes with them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._scratch = Path(tempfile.mkdtemp(prefix="premortem-sweep-"))
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            with suppress(ProcessLookupError, BrokenPipeError):
                worker.process.send_signal(signal.SIGTERM)
        for worker in self._workers:
            self._bury(worker)
        self._selector.close()
        with suppress(OSError):  # the last worker has removed it, or one was killed and left something
            self._scratch.rmdir()

    def work(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Answers, in the order in which they come. FaultError or ConfigurationError where a world cannot be."""
        waiting = iter(tasks)
        while len(self._workers) < self._plan.jobs and (task := next(waiting, None)):
            self._give(self._hire(), task)
        for idle in self._workers:
            if idle.task is None and (task := next(waiting, None)):
                self._give(idle, task)
        while any(worker.task for worker in self._workers):
            for key, _ in self._selector.select():
                heard: _Worker = key.data
                if answer := self._hear(heard):
                    if task := next(waiting, None):
                        self._give(heard, task)
                    yield answer

    def _hire(self) -> _Worker:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        folder = self._scratch / f"worker-{len(self._workers) + 1}"
        process = subprocess.Popen(  # -P: a json.py in the current folder is not ours
            [sys.executable, "-P", "-m", "premortem.faults.sweep.worker", json.dumps(encode(self._plan)), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0, start_new_session=True,
        )  # fmt: skip
        worker = _Worker(process, errors)
        self._workers.append(worker)
        assert process.stdout
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _give(self, worker: _Worker, task: Task) -> None:
        assert worker.process.stdin
        worker.task = task
        with suppress(BrokenPipeError):  # it has died, and its end of the other pipe says so too
            worker.process.stdin.write(json.dumps(encode(task)).encode() + b"\n")

    def _hear(self, worker: _Worker) -> Answer | None:
        assert worker.process.stdout
        piece = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not piece:
            status = worker.process.wait()
            size = os.fstat(worker.errors.fileno()).st_size
            said = os.pread(worker.errors.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")
            what = worker.task.recipe if worker.task else "nothing"
            raise WorkerDiedError(f"a sweep's worker, at {what or 'the clean run'}", f"status {status}; {said.strip()}")
        worker.heard += piece
        line, found, rest = worker.heard.partition(b"\n")
        if not found:
            return None
        worker.heard, worker.task = rest, None
        answer = decode(Answer, json.loads(line))
        if answer.number < 0:
            raise (ConfigurationError if answer.usage else FaultError)(answer.flaw)
        return answer

    def _bury(self, worker: _Worker) -> None:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(_GOODBYE_S)
        worker.process.kill()
        worker.process.wait()
        for stream in (worker.process.stdin, worker.process.stdout, worker.errors):
            assert stream
            with suppress(BrokenPipeError):
                stream.close()
