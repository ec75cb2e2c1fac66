"""The process of the proxy, from its start to its end: it dies with its owner, and leaves nothing behind.

Laws:
- The channel's end of file, or the owner's end by its pidfd, is the signal to go. (PR_SET_PDEATHSIG is not: it
  fires when the thread ends that has forked us, while the owner lives on.) The kernel then closes every connection.
- A session of its own: a terminal's Ctrl-C reaches the owner, which decides.
- Whatever is imported here is paid for in memory by every user of a proxy.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import traceback
from contextlib import suppress

from premortem.faults.proxy.control import Owner
from premortem.faults.proxy.engine import IN, Engine


def serve(channel: socket.socket, owner: int) -> None:
    """Until the owner, the process of this number, has gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    engine = Engine()
    with suppress(OSError, AttributeError):  # without pidfd the end of file has to do
        engine.add(os.pidfd_open(owner), IN, lambda _event: engine.stop())
    if os.getppid() != owner:
        return
    Owner(engine, channel)
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # what a connection leaves behind is small, and a look at everything is not
    engine.run()


def main(fd: int, owner: int) -> None:
    """Serve the other end of the socket `fd`; a crash is told to it as the last word."""
    channel = socket.socket(fileno=fd)
    try:
        serve(channel, owner)
    except Exception:  # noqa: BLE001 - whatever it is, the owner must hear of it
        channel.setblocking(True)
        with suppress(OSError):
            import json  # noqa: PLC0415 - it has been imported, unless that has failed

            channel.sendall(json.dumps({"crashed": traceback.format_exc()}).encode() + b"\n")
        os._exit(1)
    os._exit(0)
