"""The filter that the kernel runs before each system call, as data: which calls wait for our answer.

Law: everything else goes straight through, as cheaply as the kernel can. A program of classic BPF: load a word,
compare, jump forward, return. Of the watched calls only those count that can touch data: descriptors from 3 up, and,
unless reads are watched, only the opens that may write or create.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from premortem.faults.syscalls.calls import FIRST_DESCRIPTOR, Call

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000  # linux/seccomp.h: SECCOMP_RET_*
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_X32 = 0x40000000  # x86-64's other calling convention, which nobody's program uses; it is let through
MAY_CHANGE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, operand

Instruction = tuple[int, int, int, int]


def program(watched: Mapping[int, Call], machine: str, *, every_open: bool = False) -> bytes:
    """The filter that asks us about `watched` calls on `machine`; `every_open`: also about opens that only read."""
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),  # a 32-bit program's calls have other numbers: let them through
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for number, call in sorted(watched.items()):
        body = _asked(call, every_open=every_open)
        code += [(_EQUAL, 0, len(body), number), *body]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in code)


def _asked(call: Call, *, every_open: bool) -> list[Instruction]:
    """What follows when the number is that of `call`; every branch of it ends in a return."""
    if call.descriptor is not None:
        test = (_AT_LEAST, 0, 1, FIRST_DESCRIPTOR)
        position = call.descriptor
    elif call.name == "open" and call.flags is not None and not every_open:
        test = (_ANY_BIT, 0, 1, MAY_CHANGE)
        position = call.flags
    else:
        return [(_RETURN, 0, 0, _NOTIFY)]
    argument = _ARGUMENTS_AT + 8 * position  # its lower half: both architectures are little-endian
    return [(_LOAD, 0, 0, argument), test, (_RETURN, 0, 0, _NOTIFY), (_RETURN, 0, 0, _ALLOW)]
