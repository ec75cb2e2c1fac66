"""What this machine can do: every capability is tried for real, and says the exact reason where it is not to be had."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from premortem import __version__
from premortem.errors import PremortemError
from premortem.experiment import processes
from premortem.experiment.isolation import IsolatingExecutor
from premortem.experiment.limits import Limits

_LIBRARIES = ("psycopg", "polars", "fastexcel", "pydantic-settings", "rich", "jinja2", "xlsxwriter")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried; `detail` is what was found, or why it is not to be had."""

    name: str
    works: bool
    detail: str


def tried() -> Iterator[Finding]:
    """All of it, as it is found out; servers take a second."""
    yield Finding("premortem", works=True, detail=f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} at {sys.executable}")
    yield Finding("virtual environment", works=True, detail=sys.prefix if sys.prefix != sys.base_prefix else "none")
    yield Finding("platform", works=True, detail=f"{platform.platform()}, {os.cpu_count()} cores")
    for library in _LIBRARIES:
        yield _library(library)
    for name, attempt in _ATTEMPTS.items():
        yield _attempted(name, attempt)


def _library(name: str) -> Finding:
    try:
        return Finding(name, works=True, detail=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, works=False, detail="not installed; pip install 'premortem[lab]'")


def _attempted(name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(name, works=True, detail=attempt())
    except (PremortemError, OSError, subprocess.SubprocessError, ModuleNotFoundError) as error:
        return Finding(name, works=False, detail=f"{error}")


def _temporary_folder() -> str:
    with tempfile.TemporaryDirectory(prefix="premortem-") as folder:
        (Path(folder) / "probe").write_bytes(b"x")
    return tempfile.gettempdir()


def _postgres() -> str:
    from premortem.servers.pool import Servers  # noqa: PLC0415 - a missing library is a finding of its own

    with Servers() as servers:
        return f"{servers.postgres().origin} started and answered"


def _valkey() -> str:
    from premortem.servers.pool import Servers  # noqa: PLC0415 - as above

    with Servers() as servers:
        return f"{servers.valkey().origin} started and answered"


def _isolation() -> str:
    with IsolatingExecutor(1, Limits(time_s=5)) as executor:
        executor.submit(os.getpid).result()
    return "a task ran in a process of its own"


def _family() -> str:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        if child.pid not in processes.descendants(os.getpid()):
            raise OSError("children cannot be listed (/proc/PID/task/TID/children): what a killed exhibit leaves stays")
        return f"memory of a child can be read: {processes.resident_bytes(child.pid) >> 10} KiB"
    finally:
        child.kill()
        child.communicate()


def _freezing() -> str:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL):
            child.send_signal(number)
        status = child.wait(5)
        return f"a child was stopped, continued and killed ({signal.Signals(-status).name})"
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        child.communicate()


def _loopback() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"a relay can listen on 127.0.0.1:{listener.getsockname()[1]}"


_ATTEMPTS: dict[str, Callable[[], str]] = {
    "temporary folder": _temporary_folder,
    "server: postgres": _postgres,
    "server: valkey": _valkey,
    "isolation": _isolation,
    "clean-up of families": _family,
    "fault: processes": _freezing,
    "fault: network": _loopback,
}
