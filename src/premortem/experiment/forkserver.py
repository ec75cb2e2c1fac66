"""A process that has done the heavy imports once and forks a warden for every task.

Started by `isolation.ForkServer` as a program of its own: single-threaded, without our threads, locks and open
files, so that a fork of it is clean. It ends when the socket to its owner does, however the owner ended. A task
may kill its own warden: what that one was keeping comes to us (Linux), and is killed.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from contextlib import suppress

from premortem.experiment import processes, warden


def serve(control: socket.socket) -> None:
    """Fork a warden for every channel that arrives, until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the owner's to answer
    processes.adopt_orphans()
    wake = _woken_by_deaths()
    wardens: set[int] = set()
    poll = select.poll()
    for end in (control.fileno(), wake):
        poll.register(end, select.POLLIN)
    while True:
        for end, _ in poll.poll():
            if end == wake:
                os.read(wake, 4096)
                _bury(wardens)
                continue
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return
            channel = socket.socket(fileno=descriptors[0])
            if (pid := os.fork()) == 0:
                control.close()
                _become_warden(channel)
            wardens.add(pid)
            channel.close()


def _woken_by_deaths() -> int:
    """What becomes readable when a child has died."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _bury(wardens: set[int]) -> None:
    """Reap the dead, and kill what a warden left that was killed itself: only our own children are wardens."""
    while True:
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                wardens.discard(pid)
        orphans = set(processes.children_of(os.getpid())) - wardens
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)  # not reaped yet, so surely still the one that we mean
        if not orphans:
            return
        time.sleep(0.001)


def _become_warden(channel: socket.socket) -> None:
    signal.set_wakeup_fd(-1)
    try:
        warden.keep(channel)
    except BaseException:  # noqa: BLE001 - nothing may run past this line in a forked copy; the owner sees the end
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _preload(modules: list[str]) -> None:
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:  # it only costs time: the task that needs it meets the same error and tells it
            sys.stderr.write(f"premortem: not preloaded: {error}\n")


if __name__ == "__main__":
    _control = socket.socket(fileno=int(sys.argv[1]))
    _preload(sys.argv[2:])
    # Some libraries start a housekeeping thread when imported; they survive a fork, which is all that is done here.
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning)
    gc.collect()
    gc.freeze()  # what is loaded stays shared between all the forks
    serve(_control)
