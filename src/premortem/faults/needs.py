"""What a fault may need of the machine, by the names that an exhibit writes in NEEDS; nothing is loaded until asked.

Each is tried for real where it is asked for, once in a process: a look at versions or permissions would guess.
"""

from __future__ import annotations

import functools
import importlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from premortem.errors import FaultError, MissingRequirementError, PremortemError

_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Need:
    """What it is in words, and who tries it: a function of `module` that says why not ("" where it works).

    `instead` says what does nearly the same where it is not to be had; without it, exhibits have to be skipped.
    """

    what: str
    module: str
    function: str = "why_not"
    instead: str = ""


NEEDS: Mapping[str, Need] = {
    "processes": Need("a child can be stopped, continued and killed", "processes"),
    "soft_limits": Need("a running child's limits can be lowered and raised again", "limits"),
    "thread_limit": Need("threads can be limited (RLIMIT_NPROC)", "limits", "why_not_threads", "as root: cgroup_pids"),
    "cgroup_memory": Need("the kernel kills for memory", "limits.cgroups", "why_not_memory", "soft_limits"),
    "cgroup_pids": Need("a group's threads can be limited", "limits.cgroups", "why_not_pids", "thread_limit"),
    "dev_full": Need("/dev/full answers ENOSPC", "disk", "why_not_full_device"),
    "small_disk": Need("a small disk in memory can be filled", "disk"),
    "namespaces": Need("mounts and a network of our own", "namespaces"),
    "nft": Need("packets can be lost, refused and limited for real", "network"),
    "dns": Need("resolvers can be led to a name server that fails", "dns"),
    "faketime": Need("a process's clock can be wrong, and jump", "clock"),
    "tls": Need("certificates can be made and served", "tls"),
    "proxy": Need("a TCP fault proxy can stand before a server", "needs", "why_not_proxy"),
    "syscalls": Need("system calls can be failed one by one", "syscalls"),
}
"""By name; the order is that of `premortem doctor`."""


@functools.cache
def why_not(name: str) -> str:
    """Empty where it is to be had, else the exact reason. FaultError where there is no such need."""
    if name not in NEEDS:
        raise FaultError(f"{name!r}: is nothing that a fault needs; choose one of {', '.join(NEEDS)}")
    need = NEEDS[name]
    try:
        module = importlib.import_module(f"premortem.faults.{need.module}")
    except ImportError as error:
        return f"{error}"
    return str(getattr(module, need.function)())


def why_not_proxy() -> str:
    """Empty where a proxy lets a connection through, else the exact reason."""
    from premortem.faults.proxy import FaultProxy  # noqa: PLC0415 - nothing is loaded until asked

    try:
        with socket.create_server(("127.0.0.1", 0)) as upstream, FaultProxy(upstream.getsockname()) as proxy:
            upstream.settimeout(_PATIENCE_S)
            with socket.create_connection(proxy.address, _PATIENCE_S) as client:
                server, _ = upstream.accept()
                with server:
                    client.sendall(b"x")
                    return "" if server.recv(1) == b"x" else "a proxy let nothing through"
    except (PremortemError, OSError) as error:
        return f"{error}"


def require(name: str) -> None:
    """MissingRequirementError where it is not to be had."""
    if reason := why_not(name):
        way_out = NEEDS[name].instead or "`premortem doctor` says what this machine can do"
        raise MissingRequirementError(name, reason, way_out)
