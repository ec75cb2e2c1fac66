"""One run from start to end: scratch folder, servers, processes, journal; and nothing of it left afterwards."""

from __future__ import annotations

import itertools
import os
import platform
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from premortem import __version__
from premortem.errors import ConfigurationError
from premortem.experiment.hosts import ServerHosts
from premortem.experiment.isolation import IsolatingExecutor
from premortem.experiment.limits import MIB, Limits
from premortem.experiment.record import JOURNAL
from premortem.experiment.runner import Runner, mode_of
from premortem.model import FailureMode, Proof, Run
from premortem.model.journal import JournalWriter
from premortem.model.run import Fact
from premortem.ports import Clock, SystemClock
from premortem.servers.pool import Servers
from premortem.servers.watched import Watched

# What the exhibits import most; each costs every variant its import time where the fork server has not done it.
PRELOAD = ("premortem.experiment.play", "psycopg", "polars", "fastexcel", "pydantic_settings")


class Audience(Protocol):
    """Whoever watches a run."""

    def started(self, name: str) -> None:
        """A variant of the exhibit `name` began. Called in a thread of the executor."""
        ...

    def proven(self, proof: Proof) -> None:
        """A verdict was reached."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run: below which folder the records go, and what each variant may take, in seconds and MiB."""

    records: Path
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    seed: int = field(default_factory=lambda: secrets.randbelow(2**32))
    time_s: float = 10.0
    memory_mib: int = 1024

    def __post_init__(self) -> None:
        if not 1 <= self.jobs <= 512:  # noqa: PLR2004 - said in words below
            raise ConfigurationError(f"jobs {self.jobs}: has to be from 1 to 512; leave it out for one a core")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError(f"seed {self.seed}: has to be from 0 to 2^63 - 1; take the one that a run printed")
        if not 0.1 <= self.time_s <= 3600:  # noqa: PLR2004 - same
            raise ConfigurationError(f"time limit {self.time_s}: has to be from 0.1 to 3600 seconds; the default is 10")
        if not 64 <= self.memory_mib <= 1 << 20:  # noqa: PLR2004 - same
            raise ConfigurationError(f"memory limit {self.memory_mib}: has to be from 64 to 1048576 MiB; default 1024")


def carry_out(modes: Sequence[FailureMode], plan: Plan, audience: Audience, clock: Clock | None = None) -> Run:
    """Prove `modes` and keep the record in a folder of its own below `plan.records`.

    An exception that ends the run early (KeyboardInterrupt, SystemExit) is noted in the journal and goes on up.
    """
    clock = clock or SystemClock()
    begun, started = clock.monotonic(), clock.now()
    folder = _new_folder(plan.records, f"{started:%Y%m%d-%H%M%S}-{plan.seed:x}")
    head = Run(
        id=folder.name,
        started=started.isoformat(timespec="seconds"),
        seed=plan.seed,
        jobs=plan.jobs,
        facts=_facts(),
    )
    proofs: list[Proof] = []
    with (folder / JOURNAL).open("w", encoding="utf-8") as stream:
        journal = JournalWriter(stream, head)
        ended, facts = "complete", tuple[Fact, ...]()
        try:
            with assembled(plan, audience) as (hosts, runner):
                for proof in runner.run(modes):
                    proofs.append(proof)
                    journal.proof(proof)
                    audience.proven(proof)
                facts = hosts.facts()
        except BaseException as error:
            ended = f"cut off by {type(error).__name__}" + (f": {error}" if str(error) else "")
            raise
        finally:
            elapsed_s = round(clock.monotonic() - begun, 3)
            journal.end(elapsed_s, ended, facts)
    return replace(head, proofs=tuple(proofs), elapsed_s=elapsed_s, ended=ended, facts=head.facts + facts)


def _new_folder(records: Path, name: str) -> Path:
    """A folder that no other run has: two with one seed may begin in the same second."""
    for number in itertools.count(1):
        folder = records / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigurationError(
                f"{records}: the record of a run has to be written there ({error.strerror}); run in a folder of yours"
            ) from error
        return folder
    raise AssertionError("count() does not end")


@contextmanager
def assembled(plan: Plan, audience: Audience) -> Iterator[tuple[ServerHosts, Runner]]:
    """Everything that a run holds, for the block; let go in the order in which it must be."""
    scratch = Path(tempfile.gettempdir(), f"premortem-{secrets.token_hex(8)}")
    with ExitStack() as stack:
        stack.enter_context(Watched([scratch], name="scratch"))  # before it is there: a kill in between would leave it
        scratch.mkdir(mode=0o700)
        scratch.chmod(0o711)  # ours; a database server's own user has to get to its folder in it, and see nothing else
        executor = IsolatingExecutor(
            plan.jobs,
            Limits(time_s=plan.time_s, memory_bytes=plan.memory_mib * MIB),
            PRELOAD,
            on_start=lambda task: audience.started(mode_of(task)),
        )
        hosts = ServerHosts(stack.enter_context(Servers(scratch)))
        stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        yield hosts, Runner(scratch, plan.seed, plan.time_s, executor, hosts)


def _facts() -> tuple[Fact, ...]:
    return (
        Fact("premortem", __version__),
        Fact("python", platform.python_version()),
        Fact("platform", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Fact("cores", str(os.cpu_count())),
    )
