"""Nothing outlives its owner, and nothing dies of its owner's threads, forks or terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from premortem.errors import ConfigurationError, FaultError, MissingRequirementError, WorkerDiedError
from premortem.servers.watched import Launch, Watched, guard_folders, guarded

Eventually = Callable[[Callable[[], bool], float], float]
Lives = Callable[[int], bool]


class Owner(Protocol):
    words: list[str]
    process: subprocess.Popen[str]

    def kill(self) -> None: ...


Spawn = Callable[[str], Owner]
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux finds orphans; elsewhere they end by themselves")

OWNER = """
import os, signal, subprocess, sys, time
from premortem.servers import PostgresServer, ValkeyServer
server = {kind}Server().start()
{more}
print(server.folder, server.pid, flush=True)
time.sleep(60)
"""
LEAKY = """
subprocess.Popen(["sleep", "60"], close_fds=False)
if not os.fork():
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["Postgres", "Valkey"])
def test_after_a_sigkill_of_the_owner_server_and_folder_go(
    kind: str, spawn: Spawn, lives: Lives, eventually: Eventually
) -> None:
    owner = spawn(OWNER.format(kind=kind, more=LEAKY))
    folder, pid = Path(owner.words[0]), int(owner.words[1])
    assert lives(pid)
    owner.kill()
    server_s = eventually(lambda: not lives(pid), 2)
    folder_s = server_s + eventually(lambda: not folder.exists(), 2)
    print(f"{kind}: server gone after {server_s:.3f} s, folder after {folder_s:.3f} s")  # noqa: T201


def test_ctrl_c_reaches_the_owner_and_not_the_server(spawn: Spawn, lives: Lives, eventually: Eventually) -> None:
    hears = "signal.signal(signal.SIGINT, lambda *_: print(server.alive(), flush=True))"
    owner = spawn(OWNER.format(kind="Valkey", more=hears))
    folder, pid = Path(owner.words[0]), int(owner.words[1])
    os.killpg(owner.process.pid, signal.SIGINT)
    assert owner.process.stdout
    assert owner.process.stdout.readline() == "True\n"
    owner.process.terminate()
    eventually(lambda: not lives(pid) and not folder.exists(), 2)


def test_ctrl_c_in_a_with_block_ends_everything(spawn: Spawn, lives: Lives, eventually: Eventually) -> None:
    owner = spawn(OWNER.format(kind="Valkey", more="server.__enter__()"))
    folder, pid = Path(owner.words[0]), int(owner.words[1])
    os.killpg(owner.process.pid, signal.SIGINT)
    eventually(lambda: not lives(pid) and not folder.exists(), 2)


def sleeper(folder: Path, script: str = "exec sleep 60") -> Launch:
    return Launch(("/bin/sh", "-c", script), dict(os.environ), folder / "log", folder)


def test_the_end_of_the_thread_that_started_it_is_not_its_end(tmp_path: Path) -> None:
    made: list[Watched] = []

    def start() -> None:
        made.append(Watched())
        made[0].start(sleeper(tmp_path))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with made[0] as watched:
        assert watched.wait(0.5) is None
        assert watched.alive()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=linux)])
def test_a_watcher_that_is_killed_takes_the_server_along(
    number: int, tmp_path: Path, lives: Lives, eventually: Eventually
) -> None:
    folder = tmp_path / "guarded"
    folder.mkdir()
    watched = Watched([folder])
    pid = watched.start(sleeper(folder))
    os.kill(watched.watcher_pid, number)
    eventually(lambda: not lives(pid), 2)
    assert not watched.alive()
    with pytest.raises(WorkerDiedError, match="watcher of folders"):
        watched.wait(0)
    watched.close()
    assert folder.exists() == (number == signal.SIGKILL)


@linux
def test_grandchildren_that_left_the_group_are_found(tmp_path: Path, lives: Lives, eventually: Eventually) -> None:
    script = "(setsid sh -c 'sleep 60 & echo $! > deep; wait' &) ; exec sleep 60"
    with Watched() as watched:
        watched.start(sleeper(tmp_path, script))
        deep = tmp_path / "deep"
        eventually(lambda: deep.exists() and deep.read_text().endswith("\n"), 2)
        pid = int(deep.read_text())
        assert lives(pid)
        watched.kill(everything=False)
        assert lives(pid)
        watched.stop()
        assert not lives(pid)


def test_what_ignores_the_signal_is_killed_after_the_grace(tmp_path: Path, lives: Lives) -> None:
    with Watched() as watched:
        pid = watched.start(sleeper(tmp_path, "trap '' TERM; while :; do sleep 0.01; done"))
        watched.wait(0.1)
        assert watched.stop(signal.SIGTERM, grace_s=0.1) in {-signal.SIGKILL, -signal.SIGTERM}
        assert not lives(pid)


def test_what_cannot_be_executed_says_so(tmp_path: Path) -> None:
    with Watched() as watched:
        with pytest.raises(FaultError, match="No such file"):
            watched.start(Launch(("/no/such/program",), {}, tmp_path / "log", tmp_path))
        assert not watched.alive()
        watched.start(sleeper(tmp_path))
        with pytest.raises(FaultError, match="still runs"):
            watched.start(sleeper(tmp_path))


def test_an_interrupted_call_does_not_spoil_the_next(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with Watched() as watched:
        pid = watched.start(sleeper(tmp_path))
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            watched.wait(0.5)
        signal.signal(signal.SIGALRM, before)
        assert watched.pid == pid
        assert watched.stop() == -signal.SIGTERM


def test_guarded_folders_go_even_while_something_writes(tmp_path: Path, eventually: Eventually) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "closed").mkdir(mode=0o500)
    until = time.monotonic() + 0.4
    script = (
        f"import time, pathlib\nnumber = 0\nwhile time.monotonic() < {until}:\n number += 1\n"
        f" pathlib.Path({str(folder)!r}, str(number)).touch()"
    )
    with (
        subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as writer,
        guard_folders([folder]),
    ):
        eventually((folder / "1").exists, 2)
    assert writer.returncode is not None
    assert not folder.exists()


def test_a_guarded_folder_that_became_a_link_costs_the_link_only(tmp_path: Path) -> None:
    folder, precious = tmp_path / "scratch", tmp_path / "precious"
    precious.mkdir()
    folder.mkdir()
    with guard_folders([folder]):
        folder.rmdir()
        folder.symlink_to(precious)
    assert not folder.is_symlink()
    assert precious.exists()


def test_without_a_watcher_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.raises(MissingRequirementError, match="no-python' does not start"):
        guarded([folder], "test")
    assert not folder.exists()


@pytest.mark.parametrize("folder", [Path("/"), Path.home(), Path.cwd().parent])
def test_what_nobody_can_want_to_lose_is_not_guarded(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="removed at the end"):
        guard_folders([folder])


def test_a_fork_of_the_owner_does_nothing(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from premortem.servers import guard_folders
folder = Path({str(tmp_path)!r}, "scratch")
folder.mkdir()
with guard_folders([folder]) as guard:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        assert folder.exists()
assert not child or not folder.exists()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
