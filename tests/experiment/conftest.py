"""Exhibits as text, runs in a folder that servers can reach, and a look at who is still there."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

from premortem.experiment import discovery
from premortem.experiment.isolation import IsolatingExecutor
from premortem.experiment.session import Plan, carry_out
from premortem.model import Proof, Run

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

Eventually = Callable[..., None]

HEADINGS = '''"""{title}

Cause:       It is written that way.
Effect:      It fails.
Fix:         Write it the other way.
Prevention:  Prove it.
"""
'''

PLAIN = (
    HEADINGS.format(title="A file that is gone stops the job.")
    + """
PREDICTION = FileNotFoundError

def broken(path):
    return path.read_text()

def fixed(path):
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""

def scenario(read, lab):
    path = lab.folder / "input"
    path.write_text("x")
    lab.check("what is there is read", read(path) == "x")
    with lab.files.removed(path):
        lab.check("what is not there is empty", read(path) == "")
"""
)


def sabotaged(source: str, **changes: str) -> str:
    """An exhibit with some of its parts replaced, each by text that comes after it."""
    assert changes.keys() <= {"PREDICTION", "broken", "fixed", "scenario", "top"}
    head, main, tail = source.partition("\nif __name__ ==")
    parts = [textwrap.dedent(text) for text in changes.values()]
    return "\n".join([head, *parts]) + main + tail


@dataclass
class Witness:
    """An audience that remembers."""

    begun: list[str] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)

    def started(self, name: str) -> None:
        self.begun.append(name)

    def proven(self, proof: Proof) -> None:
        self.proofs.append(proof)


@dataclass(frozen=True)
class Place:
    """A folder of our own that a server's account can reach, with a gallery, a TMPDIR and records in it."""

    folder: Path
    plain = PLAIN
    """A whole exhibit that needs no server."""

    sabotaged = staticmethod(sabotaged)

    @property
    def gallery(self) -> Path:
        return self.folder / "gallery"

    @property
    def temporary(self) -> Path:
        return self.folder / "t"

    def write(self, **exhibits: str) -> None:
        self.gallery.mkdir(exist_ok=True)
        for name, source in exhibits.items():
            (self.gallery / f"{name}.py").write_text(source)

    def carry_out(self, jobs: int = 2, seed: int = 1, time_s: float = 10.0, memory_mib: int = 1024) -> Run:
        plan = Plan(self.folder / "records", jobs=jobs, seed=seed, time_s=time_s, memory_mib=memory_mib)
        return carry_out(discovery.find_at(self.gallery), plan, Witness())

    def left(self) -> list[str]:
        return sorted(path.name for path in self.temporary.iterdir())


def processes_of(mark: str) -> dict[int, str]:
    """Every process but this one that carries `mark` in its environment, its command line or its current folder."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        seen, state = b"", b"Z"
        for name in ("environ", "cmdline"):
            with suppress(OSError):
                seen += (folder / name).read_bytes()
        with suppress(OSError):
            seen += os.fsencode((folder / "cwd").readlink())
        with suppress(OSError, IndexError):
            state = (folder / "stat").read_bytes().rpartition(b")")[2].split()[0]
        if mark.encode() in seen and state not in (b"Z", b"X"):
            found[int(folder.name)] = seen.replace(b"\0", b" ")[-400:].decode("utf-8", "replace")
    return found


@pytest.fixture
def eventually() -> Eventually:
    """Wait until something is as it should be, and say what it is when it does not come to that."""

    def wait(look: Callable[[], object], wanted: object, seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while (seen := look()) != wanted:
            assert time.monotonic() < deadline, f"{seen!r} is not {wanted!r} after {seconds} s"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="module")
def module_mark() -> Iterator[str]:
    """A word that every process carries that this module's tests start."""
    name, mark = "PREMORTEM_TEST_MARK", f"mark-{uuid.uuid4().hex}"
    before = os.environ.get(name)
    os.environ[name] = mark
    yield mark
    del os.environ[name]
    if before is not None:
        os.environ[name] = before


@pytest.fixture
def lone_processes(module_mark: str) -> Callable[[IsolatingExecutor], dict[int, str]]:
    """The marked processes that are not the executor's fork server."""

    def look(executor: IsolatingExecutor) -> dict[int, str]:
        server = executor._server._process
        return {pid: seen for pid, seen in processes_of(module_mark).items() if not server or pid != server.pid}

    return look


def make_place() -> Place:
    folder = Path(tempfile.mkdtemp(prefix="premortem-test-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "t").mkdir(mode=0o755)
    return Place(folder)


@contextmanager
def used_for_everything_temporary(place: Place) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place.temporary))
        patch.setenv("TMPDIR", str(place.temporary))
        yield place
    shutil.rmtree(place.folder)


@pytest.fixture
def place() -> Iterator[Place]:
    """Where a run may leave nothing but its record."""
    with used_for_everything_temporary(make_place()) as place:
        yield place


@pytest.fixture(scope="module")
def exhibition() -> Iterator[Place]:
    """One for the module, for a run that many tests look at."""
    with used_for_everything_temporary(make_place()) as place:
        yield place


@pytest.fixture
def find() -> Callable[[str], dict[int, str]]:
    """Every process that carries a word in its environment, its command line or its current folder."""
    return processes_of
