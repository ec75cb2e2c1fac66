"""Linux namespaces of our own: mounts, network and host name that only the processes put inside can see.

A short-lived child makes them and hands back descriptors; as long as one is open the namespaces are there, and when
their owner dies, however it dies, the kernel takes them away with all that is mounted or configured in them. As root
the namespaces are made directly; as anybody else in a user namespace in which we are root for the setup alone:
what runs inside afterwards has its own user back, and no power over the setup.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from premortem.errors import MissingRequirementError
from premortem.faults import children
from premortem.faults.children.inside import Inside

_MOUNT, _USER, _NETWORK = 0x20000, 0x10000000, 0x40000000  # linux/sched.h
_FILE_OF = {_USER: "user", _MOUNT: "mnt", _NETWORK: "net"}  # in the order in which they are entered
_SET_FLAGS, _SET_MTU, _ETHTOOL = 0x8914, 0x8922, 0x8946  # linux/sockios.h
_UP, _RUNNING = 0x1, 0x40  # linux/if.h
_SEGMENTATION = (0x1F, 0x24)  # ETHTOOL_STSO, ETHTOOL_SGSO
_PRIVATE, _BIND, _RECURSIVE = 1 << 18, 1 << 12, 1 << 14  # linux/mount.h


def why_not() -> str:
    """Empty where namespaces are to be had, else the exact reason."""
    try:
        with Namespaces(network=True):
            return ""
    except MissingRequirementError as missing:
        return missing.reason


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount, by the system call of that name. OSError as the kernel says it."""
    answer = _libc().mount(source.encode(), os.fsencode(target), kind.encode() or None, flags, options.encode())
    _checked(answer, f"mount {kind or source} at {target}")


def bind(source: Path, target: Path) -> None:
    """Let `target` be `source` in this mount namespace."""
    mount(str(source), target, flags=_BIND)


@dataclass
class Namespaces(Inside):
    """Mounts of their own, with `network` a network too (loopback up, and nothing else); closed with the block.

    `setup` is called inside, with the right to mount and to configure; its descriptors (of open files) are kept in
    `kept`, usable from here. MissingRequirementError with the kernel's reason where they are not to be had.
    """

    network: bool = False
    setup: Callable[[], Sequence[int]] = tuple
    kept: tuple[int, ...] = ()
    _us: tuple[int, int] = field(default_factory=lambda: (os.getuid(), os.getgid()))
    _handles: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if sys.platform != "linux":
            raise MissingRequirementError("namespaces", f"{sys.platform} has none", "run on Linux")
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                kinds = children.run(self._made, theirs)
            except OSError as error:
                raise MissingRequirementError(
                    "namespaces",
                    f"{error.strerror or error}",
                    "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone, "
                    "kernel.apparmor_restrict_unprivileged_userns), or run as root",
                ) from error
            _, handles, _, _ = socket.recv_fds(ours, 1, 64)
        self._handles = dict(zip(kinds, handles, strict=False))
        self.kept = tuple(handles[len(kinds) :])

    def close(self) -> None:
        """Let go of them; the kernel removes them when the last process inside has ended."""
        while self._handles:
            os.close(self._handles.popitem()[1])
        for handle in self.kept:
            with suppress(OSError):  # its owner has closed it
                os.close(handle)
        self.kept = ()

    def enter(self) -> None:
        """As `Inside`: with no power over the setup."""
        self._join()
        if _USER in self._handles:
            user, group = self._us
            _unshare(_USER)
            _map_users(f"{user} 0 1", f"{group} 0 1")

    def enter_configuring(self) -> None:
        """As `enter`, with the right to mount and to configure."""
        self._join()

    def _join(self) -> None:
        here = Path.cwd()
        for handle in self._handles.values():
            _checked(_libc().setns(handle, 0), "setns")
        os.chdir(here)

    def _made(self, channel: socket.socket) -> list[int]:
        """In the child: make them, set them up, hand their descriptors over; the kinds, in order."""
        kinds = _MOUNT | (_NETWORK if self.network else 0)
        try:
            _unshare(kinds)
        except PermissionError:
            user, group = os.getuid(), os.getgid()
            _unshare(kinds | _USER)
            _map_users(f"0 {user} 1", f"0 {group} 1")
            kinds |= _USER
        mount("none", Path("/"), flags=_RECURSIVE | _PRIVATE)  # what is mounted here reaches nobody else
        if self.network:
            _loopback_up()
        made = [kind for kind in _FILE_OF if kinds & kind]
        handles = [os.open(f"/proc/self/ns/{_FILE_OF[kind]}", os.O_RDONLY | os.O_CLOEXEC) for kind in made]
        socket.send_fds(channel, [b"x"], [*handles, *self.setup()])
        return made


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(answer: int, what: str) -> None:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _unshare(kinds: int) -> None:
    _checked(_libc().unshare(kinds), "unshare")


def _map_users(users: str, groups: str) -> None:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(users)
    Path("/proc/self/gid_map").write_text(groups)


def _loopback_up() -> None:
    """`ip link set lo up mtu 1500` and `ethtool -K lo tso off gso off`, without needing the programs (netdevice(7)).

    Of itself loopback moves 64 KiB in one piece: nothing that could be lost by the packet.
    """
    import fcntl  # noqa: PLC0415 - not there on Windows, and this is only ever reached on Linux

    name = b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_MTU, struct.pack("16si20x", name, 1500))
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh22x", name, _UP | _RUNNING))
        for command in _SEGMENTATION:
            off = ctypes.create_string_buffer(struct.pack("II", command, 0))
            fcntl.ioctl(any_socket, _ETHTOOL, struct.pack("16sP16x", name, ctypes.addressof(off)))
