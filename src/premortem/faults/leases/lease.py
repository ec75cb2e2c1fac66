"""Leases: a fault has an owner and a time to live; it is out when its block ends, its time is up or its owner dies.

    with leased(Continue.of(pid), what="the worker is frozen", ttl_s=30):
        os.kill(pid, signal.SIGSTOP)

Laws:
- Before the fault goes in, its undo stands in the journal on the disk and the watchdog has it.
- The watchdog takes it out; where that one has been killed, we do; where both have, `premortem heal` does.
- A fork has no part in it: the leases that it was born into end with its parent's blocks, and a lease of its own
  starts a watchdog of its own.
- A lease that ran out before its block ended is an error: what the rest of the block saw, it saw without the fault.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import ConfigurationError, FaultError, WorkerDiedError
from premortem.events import emit
from premortem.faults.leases import lease_journal
from premortem.faults.leases.identity import Owner
from premortem.faults.leases.keeper import Answer, Request, keeper
from premortem.faults.leases.undo import PutBack, Undo
from premortem.ports import Clock, SystemClock

TTL_S = 60.0
_LONGEST_TTL_S = 86_400.0
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Lease:
    """A fault on loan: `what` it is, in words, and how it is undone. `journal` is the file in which it stands."""

    id: int
    what: str
    undo: Undo
    owner: Owner
    journal: Path

    @property
    def expired(self) -> bool:
        """Whether its time was up, so that the fault is out already. FaultError when nobody can tell."""
        try:
            return keeper().expired(self.id)
        except WorkerDiedError as error:
            raise FaultError(f"{self.what}: {error}, so whether its time was up is not known; start anew") from None


@contextmanager
def leased(  # noqa: PLR0913 - by keyword only, each with a default
    undo: Undo,
    *,
    what: str,
    ttl_s: float = TTL_S,
    journal: Path | None = None,
    may_expire: bool = False,
    clock: Clock | None = None,
) -> Iterator[Lease]:
    """Put a fault in inside this block; `undo` takes it out at the end of it, after `ttl_s` seconds, or when we die.

    `journal` is the folder of the write-ahead journal, by default that of PREMORTEM_FAULTS, else .premortem/faults.
    FaultError when the fault cannot be guarded (then do not put it in) or not be taken out (then the journal keeps
    it), and when its time was up before the block ended, unless it `may_expire`.
    """
    if not 0 < ttl_s <= _LONGEST_TTL_S:
        raise ConfigurationError(f"ttl_s={ttl_s!r}: has to be above 0 and up to {_LONGEST_TTL_S:g} seconds; write 30")
    clock, owner = clock or SystemClock(), Owner.me()
    lease = Lease(next(_numbers), what, undo, owner, lease_journal.file_of(lease_journal.folder_of(journal), owner))
    _write_down(lease, clock, ttl_s)
    try:
        keeper().arm(Request(lease.id, undo, clock.monotonic() + ttl_s, lease.journal))
        yield lease
    finally:
        answer = _end(lease)
    if answer.expired and not may_expire:
        raise FaultError(
            f"{what}: was taken out after {ttl_s:g} s, before its block ended, so what came later was not struck; "
            "give it a longer ttl_s, or say may_expire=True"
        )


def _write_down(lease: Lease, clock: Clock, ttl_s: float) -> None:
    entry = lease_journal.Entry(lease.id, lease.what, lease.undo, clock.now().isoformat(timespec="milliseconds"), ttl_s)
    try:
        lease_journal.write_open(lease.journal, lease.owner, entry)
    except OSError as error:
        raise FaultError(
            f"{lease.journal}: cannot be written ({error.strerror}), and a fault that is not written down does not go "
            f"in; name another folder with {lease_journal.FOLDER_VARIABLE}"
        ) from None


def _end(lease: Lease) -> Answer:
    """Undone by the watchdog, or by us where it cannot; in a fork, by neither."""
    if os.getpid() != lease.owner.pid:
        return Answer()
    try:
        answer = keeper().undo(lease.id)
    except WorkerDiedError as error:
        answer = Answer(failed=str(error))
    if answer.failed:
        answer = _undo_ourselves(lease, answer.failed)
    if answer.expired:
        emit("fault.expired", what=lease.what)
    return answer


def _undo_ourselves(lease: Lease, why: str) -> Answer:
    try:
        said = lease.undo.undo().said
        lease_journal.write_done(lease.journal, lease.id, "owner", said)
        if isinstance(lease.undo, PutBack):
            lease.undo.forget()
    except (OSError, FaultError) as error:
        raise FaultError(
            f"{lease.what}: could not be taken out ({why}; then {error}); mend that, then run `premortem heal`: "
            f"{lease.journal} knows what is to be done"
        ) from error
    return Answer(said)
