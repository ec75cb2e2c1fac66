"""What an intercepted system call costs: microseconds per call under the supervisor and bare, interleaved, by rounds.

    python bench/faults_syscalls.py [--rounds 7] [--calls 5000] [--json]

64-byte writes into a file of a memory file system, as in the prototype's measurement; and `getppid`, which is not
watched, for what the filter costs all the other calls.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from premortem.faults import syscalls

TARGET = """
import os, sys, time
calls, libc_calls = int(sys.argv[1]), 20000
descriptor = os.open("bytes", os.O_WRONLY | os.O_CREAT)
data, write, getppid, now = bytes(64), os.write, os.getppid, time.perf_counter
def loop(times, call):
    began, used = now(), time.process_time()
    for _ in range(times):
        call()
    return (now() - began) / times * 1e6, (time.process_time() - used) / times * 1e6
nothing, idle = loop(libc_calls, lambda: None)
watched, busy = loop(calls, lambda: write(descriptor, data))
other, _ = loop(libc_calls, getppid)
print(watched - nothing, busy - idle, other - nothing)
"""


@dataclass(frozen=True, slots=True)
class Round:
    """Microseconds a call: watched and not watched ones, under the supervisor and bare; and with the bytes kept.

    `processor_us` is what both sides compute for an intercepted call, the start of the run included: a busy machine
    makes it less wrong than `intercepted_us`, which is what the program waits.
    """

    intercepted_us: float
    processor_us: float
    recorded_us: float
    bare_us: float
    other_us: float
    other_bare_us: float


def measure(rounds: int, calls: int) -> tuple[Round, ...]:
    """`rounds` rounds of `calls` calls each, the variants one after the other within each."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        return tuple(_round(Path(folder), calls) for _ in range(rounds))


def _round(folder: Path, calls: int) -> Round:
    command = [sys.executable, "-c", TARGET, str(calls)]
    began = time.process_time()
    intercepted, theirs, other = _printed(command, folder, record=False)
    ours = (time.process_time() - began) / calls * 1e6
    recorded, _, _ = _printed(command, folder, record=True)
    bare, _, other_bare = _printed(command, folder, record=None)
    return Round(intercepted, ours + theirs, recorded, bare, other, other_bare)


def _printed(command: list[str], folder: Path, *, record: bool | None) -> tuple[float, float, float]:
    """What the target measured of itself; `record` None: without a supervisor."""
    if record is None:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return _three(answer.stdout)
    ended = syscalls.run(command, watch=["file"], record_data=record, folder=folder, time_s=120)
    if ended.status or len(ended.operations) < int(command[-1]):
        raise SystemExit(f"the target ended with {ended.status}: {ended.output}")
    return _three(ended.output)


def _three(printed: str) -> tuple[float, float, float]:
    first, second, third = printed.split()
    return float(first), float(second), float(third)


def main() -> None:
    """Print the medians, or everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := syscalls.why_not():
        raise SystemExit(f"system calls cannot be intercepted here: {reason}")
    rounds = measure(options.rounds, options.calls)
    if options.json:
        print(json.dumps([asdict(one) for one in rounds]))
        return
    print(f"{options.rounds} rounds of {options.calls} writes of 64 bytes, {os.cpu_count()} processors; us a call")
    for name in ("intercepted_us", "processor_us", "recorded_us", "bare_us", "other_us", "other_bare_us"):
        values = sorted(getattr(one, name) for one in rounds)
        print(
            f"  {name.removesuffix('_us'):<12} {statistics.median(values):6.2f}  [{values[0]:.2f} - {values[-1]:.2f}]"
        )


if __name__ == "__main__":
    main()
