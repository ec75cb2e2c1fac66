"""What it costs to intercept a system call: ours beside `strace -e inject`, with and without its filter.

The program is that of `faults_syscalls.py`: it knows nothing of it, writes 64 bytes to a file in memory over and over,
and says itself how long a write took. Every write is intercepted, and let go on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.faults_processes import find, first_line, missing, on_one_processor
from bench.faults_rounds import Bench, Part, failed, say
from bench.faults_syscalls import TARGET
from bench.faults_table import OURS, Column, Table, goal

from premortem.faults import syscalls

BAR_US = 20.0
BARE, SWEEP, KEPT = "not intercepted", f"{OURS} sweep", f"{OURS} sweep, the bytes kept"
STRACE = {"strace -f --seccomp-bpf -e inject": ("--seccomp-bpf",), "strace -f -e inject": ()}
INJECT = ("-f", "-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:error=EIO:when=65535")
IN_MEMORY = Path("/dev/shm")  # where there is none, the temporary folder; the same for all
CALL, PINNED, OTHER = "us a call", "us a call, one processor", "us any other call"

Way = Callable[[], str]


def calls(bench: Bench) -> Part:
    """Microseconds a 64-byte write, the write itself included."""
    count = int(10_000 * bench.size)
    table = Table([Column(CALL, 1), Column(PINNED, 1), Column(OTHER, 2)], [BARE, SWEEP, KEPT, *STRACE])
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as scratch:
        ways = _ways([sys.executable, "-c", TARGET, str(count)], Path(scratch), table)
        for number in range(bench.few(7)):
            say(f"system calls, round {number + 1}")
            for name, way in ways.items():
                if name not in table.notes:
                    _measure(table, name, way)
    strace = f"strace {first_line('strace', '--version').split()[-1]}" if find("strace") else "strace"
    claim = f"an intercepted system call at most {BAR_US:g} us, the call included"
    text = f"""\
## System calls

A 64-byte write to a file in memory, intercepted and let go on, {count:,} times a round, the write itself included; and
`getppid`, which nobody asked to intercept. Ours keeps a record of every call, as a sweep does; {strace} keeps none.

{table.text()}"""
    return Part(text, [goal(claim, table.values(SWEEP, CALL), BAR_US, lambda value: f"{value:.1f} us", at_least=False)])


def _ways(command: Sequence[str], folder: Path, table: Table) -> Mapping[str, Way]:
    """How each row runs the program; what it prints is what they give. Who cannot is noted."""

    def alone(*before: str) -> str:
        return subprocess.run([*before, *command], cwd=folder, check=True, capture_output=True, text=True).stdout

    def swept(*, record_data: bool) -> str:
        return syscalls.run(command, watch="file", record_data=record_data, folder=folder, time_s=60).output

    ways: dict[str, Way] = {BARE: alone}
    if why_not := syscalls.why_not():
        table.notes |= dict.fromkeys((SWEEP, KEPT), f"not here: {why_not}")
    else:
        ways |= {SWEEP: lambda: swept(record_data=False), KEPT: lambda: swept(record_data=True)}
    for name, options in STRACE.items():
        if why_not := missing("strace", "strace"):
            table.note(name, why_not)
        else:
            ways[name] = lambda options=options: alone(find("strace"), *options, *INJECT)  # type: ignore[misc]
    return ways


def _measure(table: Table, name: str, way: Way) -> None:
    """One round of a row: wherever the scheduler puts it, and on one processor."""
    try:
        call, _, other = map(float, way().split())
        with on_one_processor(True):
            pinned, _, _ = map(float, way().split())
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        table.note(name, failed(error))
    else:
        table.add(name, call, pinned, other)
