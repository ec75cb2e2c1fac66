"""Starts the load, `load.c` where a C compiler is and `load.py` elsewhere, and reads what it prints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.faults_processes import find, first_line, running

HERE = Path(__file__).parent
WORKERS = 4
TOO_LONG_S = 60.0


class Load:
    """Every method is one process of its own, so that nothing of it shares a lock with a proxy or with us."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "load.log"
        compiler = find("gcc") or find("cc")
        self.words = f"`bench/load.py` (no C compiler here), Python {sys.version.split()[0]}"
        self._command: list[str] = [sys.executable, str(HERE / "load.py")]
        if compiler:
            program = folder / "load"
            subprocess.run([compiler, "-O2", "-pthread", "-o", program, HERE / "load.c"], check=True)
            self._command = [str(program)]
            self.words = f"`bench/load.c`, {first_line(compiler, '--version')}, `-O2`"

    @contextmanager
    def serving(self, ports: int) -> Iterator[list[int]]:
        """A server with so many ports: one for each proxy, so that none waits for another's closed connections."""
        with running([*self._command, "serve", str(ports)], self._log, pipes=True) as process:
            assert process.stdout
            yield [int(port) for port in process.stdout.readline().split()]

    def bulk_bytes_per_s(self, port: int, size: int) -> float:
        """One connection, 256 KB writes, an acknowledgement at the end."""
        return size / float(self._run("bulk", port, size))

    def ping_s(self, port: int, count: int) -> list[float]:
        """Seconds of each 64-byte round trip, sorted; the first tenth warms up and does not count."""
        lines = self._run("ping", port, count + count // 10).split()
        return sorted(int(line) / 1e9 for line in lines[count // 10 :])

    def connects_per_s(self, port: int, seconds: float) -> float:
        """Connect, one byte each way, close; by four workers."""
        return float(self._run("connects", port, seconds, WORKERS))

    @contextmanager
    def holding(self, port: int, count: int) -> Iterator[None]:
        """So many open connections, each of which has carried 64 bytes both ways."""
        with running([*self._command, "hold", str(port), str(count)], self._log, pipes=True) as process:
            assert process.stdout
            if process.stdout.readline() != "open\n":
                raise RuntimeError(f"{count} connections could not be opened: {self._log.read_text()[-500:]}")
            yield

    def _run(self, *words: object) -> str:
        command = [*self._command, *map(str, words)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TOO_LONG_S)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}: {ended.stderr.strip()[-500:]}")
        return ended.stdout


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted figures."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
