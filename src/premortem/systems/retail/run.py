"""Files of invoices into PostgreSQL, chunk by chunk: exactly once, whoever dies, and however often it is said.

Laws:
- Rows, dead letters and progress of a chunk commit together (`chunk`, `progress`); what was cut off goes on there.
- A file is known by its SHA-256: the same bytes are loaded once, under whatever name. By content, rows are.
- Several workers, of this process and of others, may be given the same files: each file has one at a time, the others
  take other files or wait.
- What the database does by chance (a lost connection, a deadlock, a restart) is tried again within a budget and a
  deadline; what it refuses is an error at once.

Events, for whoever shows progress (`premortem.events`):

| event                     | fields                                                                        |
| ------------------------- | ----------------------------------------------------------------------------- |
| `retail.file`             | `source`, `batch`, `state`: "begun", "resumed", "known" or "complete"; `rows` |
| `retail.chunk`            | `source`, `batch`, `chunk`, `rows` so far, `loaded`, `dead`, `known`, `share` |
| `retail.waiting`          | `source`: another worker has it                                               |
| `retail.commit_found`     | `batch`, `chunk`: a commit whose answer was lost had taken place              |
| `retail.progress_damaged` | `batch`, `sound` chunks, `from_row` on: was taken out and is loaded anew      |
| `retail.warning`          | `text`                                                                        |
"""

from __future__ import annotations

import contextvars
import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.ports import Clock, SystemClock
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target
from premortem.systems.retail.tasks import FileReport, Manner, Sameness, Todo
from premortem.systems.retail.worker import Worker


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of all files, in the order in which they were given."""

    files: tuple[FileReport, ...]
    seconds: float

    @property
    def failed(self) -> tuple[FileReport, ...]:
        """The files that could not be loaded, or not to their end."""
        return tuple(file for file in self.files if file.state == "failed")


def run(  # noqa: PLR0913 - the two that matter come first, the rest by name
    files: Sequence[str | Path],
    url: str | None = None,
    settings: RetailSettings | None = None,
    *,
    sheet: str | None = None,
    by: Sameness = "file",
    workers: int = 1,
    owner: str | None = None,
    clock: Clock | None = None,
) -> RunReport:
    """Load `files` into schema `bronze` of the database at `url` (default: PREMORTEM_POSTGRES_URL).

    A file that cannot be read is told in the report, and the others go on; a database that stays away ends the run
    with its `DatabaseError`, and the next run goes on from there. `workers` files are loaded at once, each by a thread
    with a session of its own. `owner` is the name by which a claim is told (default: host and process).
    """
    if not files or workers < 1:
        raise ConfigurationError(f"{len(files)} files, {workers} workers: there has to be one of each; name a file")
    settings = settings if settings is not None else read_settings(url)
    target = parse_target(url if url is not None else settings.postgres_url)
    clock = clock or SystemClock()
    began = clock.monotonic()
    owner = owner or f"{platform.node()}:{os.getpid()}"
    todo = Todo([Path(path) for path in files])
    crew = [
        Worker(target, settings, Manner(sheet, by, f"{owner}:{number}" if workers > 1 else owner, clock), todo)
        for number in range(min(workers, len(files)))
    ]
    if len(crew) == 1:
        crew[0].work()
    else:
        with ThreadPoolExecutor(len(crew), thread_name_prefix="retail-worker") as pool:
            # Each thread hears with the ears of whoever called.
            for done in [pool.submit(contextvars.copy_context().run, worker.work) for worker in crew]:
                done.result()
    return RunReport(todo.reports(), clock.monotonic() - began)
