"""The kernel's side of it: structures, request numbers, and the few calls that Python has no name for.

Sources: `linux/seccomp.h`, `linux/prctl.h`, seccomp_unotify(2), pidfd_getfd(2). Everything hot goes through
`fcntl.ioctl` with `bytes`: half the price of ctypes, and nothing to clear between two calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # seccomp_notif: id, thread, flags, number, architecture, ip, arguments
ANSWER = struct.Struct("=QqiI")  # seccomp_notif_resp: id, value, error, flags
IDENTITY = struct.Struct("=Q")
CONTINUE: Final = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
SYNC_WAKE_UP: Final = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP

# _IOC(direction, '!', number, bytes of the argument)
RECEIVE: Final = 0xC0502100
SEND: Final = 0xC0182101
IS_VALID: Final = 0x40082102
SET_FLAGS: Final = 0x40082104  # Linux 6.6

_SET_MODE_FILTER, _GET_ACTION_AVAILABLE, _GET_NOTIF_SIZES = 1, 2, 3
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_USER_NOTIF = 0x7FC00000
_SET_PDEATHSIG, _SET_NO_NEW_PRIVS, _SET_CHILD_SUBREAPER = 1, 38, 36
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_PIDFD_GETFD = 438

_c = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(what: str, number: int, *arguments: object) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(int(_c.syscall(ctypes.c_long(number), *words)), what)


def prctl(option: int, value: int) -> None:
    """Set one property of this process. OSError."""
    words = [ctypes.c_ulong(word) for word in (value, 0, 0, 0)]
    _checked(int(_c.prctl(ctypes.c_int(option), *words)), f"prctl {option}")


def die_with_parent(signal: int) -> None:
    """`signal` comes when the thread that started this process ends."""
    prctl(_SET_PDEATHSIG, signal)


def inherit_orphans() -> None:
    """Descendants whose parent dies become children of this process."""
    prctl(_SET_CHILD_SUBREAPER, 1)


def sizes(machine: str) -> tuple[int, int]:
    """How many bytes this kernel has for a notification and for an answer. OSError where it knows neither."""
    answer = (ctypes.c_uint16 * 3)()
    _syscall("SECCOMP_GET_NOTIF_SIZES", _SECCOMP[machine], _GET_NOTIF_SIZES, 0, ctypes.byref(answer))
    return int(answer[0]), int(answer[1])


def require_notification(machine: str) -> None:
    """OSError unless this kernel can ask a supervisor (Linux 5.0)."""
    action = ctypes.c_uint32(_USER_NOTIF)
    _syscall("SECCOMP_RET_USER_NOTIF", _SECCOMP[machine], _GET_ACTION_AVAILABLE, 0, ctypes.byref(action))


def install(filter_: bytes, machine: str) -> int:
    """Put the filter on this process and all that it will start; the listener's descriptor. OSError.

    Where the kernel can (5.19), a call that we are asked about waits through signals other than deadly ones, so that
    it is not begun, and counted, twice.
    """
    prctl(_SET_NO_NEW_PRIVS, 1)
    program = _Program(len(filter_) // 8, filter_)
    for flags in (_NEW_LISTENER | _WAIT_KILLABLE, _NEW_LISTENER):
        try:
            return _syscall("seccomp", _SECCOMP[machine], _SET_MODE_FILTER, flags, ctypes.byref(program))
        except OSError as error:
            if error.errno != errno.EINVAL or flags == _NEW_LISTENER:
                raise
    raise AssertionError("not reached")


def take_descriptor(process: int, descriptor: int) -> int:
    """A descriptor of ours for the open file that `descriptor` is in `process` (Linux 5.6). OSError."""
    handle = os.pidfd_open(process)
    try:
        return _syscall("pidfd_getfd", _PIDFD_GETFD, handle, descriptor, 0)
    finally:
        os.close(handle)
