"""What `premortem doctor` tries besides the faults: a folder, servers, isolation, and what it may meet in a kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from premortem.errors import FaultError
from premortem.experiment import processes
from premortem.experiment.isolation import IsolatingExecutor
from premortem.experiment.limits import Limits
from premortem.faults.network import Network, program


def temporary_folder() -> str:
    """A file can be written where temporary ones go."""
    with tempfile.TemporaryDirectory(prefix="premortem-") as folder:
        (Path(folder) / "probe").write_bytes(b"x")
    return tempfile.gettempdir()


def postgres() -> str:
    """A PostgreSQL server of our own starts and answers."""
    from premortem.servers.pool import Servers  # noqa: PLC0415 - a missing library is a finding of its own

    with Servers() as servers:
        return f"{servers.postgres().origin} started and answered"


def valkey() -> str:
    """A Valkey server of our own starts and answers."""
    from premortem.servers.pool import Servers  # noqa: PLC0415 - as above

    with Servers() as servers:
        return f"{servers.valkey().origin} started and answered"


def isolation() -> str:
    """A task runs in a process of its own."""
    with IsolatingExecutor(1, Limits(time_s=5)) as executor:
        executor.submit(os.getpid).result()
    return "a task ran in a process of its own"


def family() -> str:
    """What a killed exhibit leaves behind can be found, and its memory read."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        if child.pid not in processes.descendants(os.getpid()):
            raise OSError("children cannot be listed (/proc/PID/task/TID/children): what a killed exhibit leaves stays")
        return f"memory of a child can be read: {processes.resident_bytes(child.pid) >> 10} KiB"
    finally:
        child.kill()
        child.communicate()


def netem() -> str:
    """The kernel's own delays, which we do not need."""
    with Network() as network:
        try:
            network.configured(
                program("tc", "iproute2"), *["qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
            )
        except FaultError as error:
            raise OSError(f"{error}".partition("; ")[0]) from error  # the way out stands beside it
    return "the kernel can delay packets"
