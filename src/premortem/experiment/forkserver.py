"""A process that has done the heavy imports once and forks a warden for every task.

Started by `isolation.ForkServer` as a program of its own: single-threaded, without our threads, locks and open
files, so that a fork of it is clean. It ends when the socket to its owner does, however the owner ended.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import traceback
import warnings

from premortem.experiment import warden


def serve(control: socket.socket) -> None:
    """Fork a warden for every channel that arrives, until the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the owner's to answer
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the wardens
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        channel = socket.socket(fileno=descriptors[0])
        if os.fork() == 0:
            control.close()
            _become_warden(channel)
        channel.close()


def _become_warden(channel: socket.socket) -> None:
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
