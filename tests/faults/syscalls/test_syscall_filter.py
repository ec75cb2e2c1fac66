"""The filter, run by an interpreter of its five instructions: exactly the chosen calls are asked about."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.syscalls import bpf
from premortem.faults.syscalls.calls import CALLS, Family, numbered
from premortem.faults.syscalls.structs import NOTIFICATION

MACHINES = ("x86_64", "aarch64")
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ASKED = 0x7FC00000


def verdict(program: bytes, number: int, architecture: int, arguments: tuple[int, ...]) -> int:
    """What the kernel would answer: linux/bpf_common.h in five lines."""
    words = [number, architecture, 0, 0]
    for argument in arguments:
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    code, at, loaded = list(bpf.INSTRUCTION.iter_unpack(program)), 0, 0
    while True:
        kind, if_true, if_false, operand = code[at]
        at += 1
        match kind:
            case 0x20:
                loaded = words[operand // 4]
            case 0x06:
                return int(operand)
            case 0x15 | 0x35 | 0x45:
                true = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[kind]
                at += if_true if true else if_false
            case _:
                raise AssertionError(f"unknown instruction {kind:#x}")


families = st.sets(st.sampled_from(["file", "socket", "read"]), min_size=1)


@given(
    families,
    st.sampled_from(MACHINES),
    st.integers(0, 460),
    st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
)
def test_exactly_the_chosen_calls(watch: set[Family], machine: str, number: int, arguments: list[int]) -> None:
    watched = numbered(frozenset(watch), machine)
    program = bpf.program(watched, machine)
    call = watched.get(number)
    expected = call is not None
    if call and call.descriptor is not None:
        expected = arguments[call.descriptor] & 0xFFFFFFFF >= 3
    elif call and call.name == "open" and call.flags is not None:
        expected = bool(arguments[call.flags] & 0xFFFFFFFF & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    assert (verdict(program, number, AUDIT[machine], tuple(arguments)) == ASKED) == expected
    assert verdict(program, number, 0x40000003, tuple(arguments)) != ASKED, "32-bit programs have other numbers"
    assert verdict(program, number | 0x40000000, AUDIT[machine], tuple(arguments)) != ASKED


@pytest.mark.parametrize("machine", MACHINES)
def test_each_number_is_there_once_and_the_program_fits(machine: str) -> None:
    everything = frozenset({"file", "socket", "read"})
    numbers = [call.aarch64 if machine == "aarch64" else call.x86_64 for call in CALLS]
    known = sorted(number for number in numbers if number is not None)
    assert all(one < other for one, other in pairwise(known))
    assert len(numbered(everything, machine)) == len(known)
    assert len(bpf.program(numbered(everything, machine), machine)) // 8 < 4096  # BPF_MAXINSNS


def test_the_kernel_and_we_agree_on_sizes() -> None:
    assert NOTIFICATION.size == 80
