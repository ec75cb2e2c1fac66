"""The process that outlives us in order to stop a server and remove folders; run alone, by path, without site-packages.

Laws:
- Its standard input is the death pipe. Only the owner holds the other end, so end-of-file means that the owner
  has gone, however it went (exit, crash, SIGKILL). On Linux a pidfd of the owner says the same a second time, in
  case a fork of the owner still holds the pipe.
- One thread, and the server is its own child: it alone reaps it, so no process id that it signals can be stale.
- It is a session of its own, and so is the server: a terminal's Ctrl-C reaches neither.
- SIGTERM means: stop the server, remove the folders, go. SIGKILL takes the server along (Linux, PR_SET_PDEATHSIG,
  safe here because the thread that forks is the only one), but then nobody removes the folders.
- `PR_SET_CHILD_SUBREAPER` (Linux) hands it the orphans of its server, so that they can be found and killed too.

One request a line comes in as JSON, one answer a line goes out with the same `id`. `watched.py` is the other side.
Prior art: the death pipe of djb's daemontools and of Chromium's zygote.
"""

# pathlib would double the time that this takes to start:
# ruff: noqa: PTH101, PTH108, PTH114, PTH118, PTH123, PTH208

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTS, ANSWERS = 0, 1
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
IPC_RMID = 0
SWEEP_S = 5.0
REMOVE_S = 10.0
WORKED_IN_S = 3.0
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)
FOLDERS_LEFT = 3


class Launch:
    """What to start and how to end it; the fields are those of `watched.Launch`."""

    def __init__(self, told: dict[str, object]) -> None:
        self.argv: list[str] = _strings(told["argv"])
        self.environment = dict(pair.split("=", 1) for pair in _strings(told["environment"]))
        self.log, self.cwd, self.pid_file = str(told["log"]), str(told["cwd"]), str(told["pid_file"])
        self.uid, self.gid = _whole(told["uid"]), _whole(told["gid"])
        self.last_signal, self.last_grace_s = _whole(told["last_signal"]), _seconds(told["last_grace_s"])


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _whole(value: object) -> int:
    return value if isinstance(value, int) else -1


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class Watcher:
    """At most one server at a time, and the folders to remove at the end."""

    def __init__(self, folders: list[str], owner: int) -> None:
        self.folders = folders
        self.over = False  # the owner has gone, or SIGTERM came
        self.launch: Launch | None = None
        self.server = 0  # process id while it lives
        self.exit: int | None = None  # how the last one ended: exit status, or minus the signal
        self.segment = -1  # System V shared memory that a killed PostgreSQL has left
        self.childless = True
        self.heard = b""
        self.doing: dict[str, Callable[[dict[str, object]], dict[str, object]]] = {
            "start": self.start, "wait": self.wait, "stop": self.stop, "kill": self.kill,
        }  # fmt: skip
        self.poll = select.poll()
        self.poll.register(REQUESTS, select.POLLIN)
        self.wake = self._signals()
        self.poll.register(self.wake, select.POLLIN)
        self.pidfd = self._watch_owner(owner)

    def _signals(self) -> int:
        """Ignore what a terminal sends, notice SIGTERM and dead children; returns what becomes readable then."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._terminated)
        return reading

    def _terminated(self, *_: object) -> None:
        self.over = True

    def _watch_owner(self, owner: int) -> int:
        """A pidfd of the owner (-1 where the system has none)."""
        if sys.platform != "linux":
            return -1
        try:
            pidfd = os.pidfd_open(owner)
        except OSError:  # an old kernel, or it has gone already: then the pipe says so too
            return -1
        if os.getppid() != owner:
            self.over = True
        self.poll.register(pidfd, select.POLLIN)
        return pidfd

    def serve(self) -> None:
        """Answer requests until the owner goes."""
        while not self.over:
            line, found, rest = self.heard.partition(b"\n")
            if not found:
                self.turn(None)
                continue
            self.heard = rest
            request: dict[str, object] = json.loads(line)
            try:
                answer = self.doing[str(request["do"])](request)
            except OSError as error:
                answer = {"error": str(error)}
            self._answer({"id": request["id"], "pid": self.server, "exit": self.exit, **answer})

    def _answer(self, answer: dict[str, object]) -> None:
        try:
            os.write(ANSWERS, json.dumps(answer).encode() + b"\n")
        except BrokenPipeError:
            self.over = True

    def turn(self, seconds: float | None) -> None:
        """Wait for anything to happen, `seconds` at most, and take note of it."""
        for ready, _ in self.poll.poll(None if seconds is None else max(0.0, seconds) * 1000):
            if ready == REQUESTS:
                chunk = os.read(REQUESTS, 65536)
                self.heard += chunk
                gone = not chunk
            elif ready == self.wake:
                os.read(self.wake, 4096)
                gone = False
            else:
                gone = True
            if gone:
                self.over = True
                self.poll.unregister(ready)
        self.reap()

    def until(self, reached: Callable[[], bool], seconds: float) -> bool:
        """Take turns until `reached`, `seconds` at most."""
        deadline = time.monotonic() + seconds
        self.reap()
        while not reached() and (left := deadline - time.monotonic()) > 0:
            self.turn(min(left, 0.05))
        return reached()

    def reap(self) -> None:
        """Bury every child that has died, ours and those that we inherited."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if not pid:
                self.childless = False
                return
            if pid == self.server:
                self.server, self.exit = 0, os.waitstatus_to_exitcode(status)
                self._note_segment()
                if self.exit >= 0:  # it ended by itself and has tidied up
                    self.segment = -1

    def _note_segment(self) -> None:
        """Early and often: at the end, somebody else may be removing the same folder."""
        if self.launch and (found := _shared_memory(self.launch.pid_file)) >= 0:
            self.segment = found

    def start(self, told: dict[str, object]) -> dict[str, object]:
        """Start a server; what an earlier one left running goes first."""
        self.reap()
        if self.server:
            return {"error": f"process {self.server} still runs"}
        self.sweep()
        self.launch, self.exit, self.childless = Launch(told), None, False
        self.segment = -1  # the new server removes it itself
        reading, writing = os.pipe()
        self.server = os.fork()
        if not self.server:
            _become(self.launch, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as channel:
            failure = channel.read()  # ends at exec (close-on-exec), or with the reason why there was none
        if failure:
            self.until(lambda: not self.server, 1.0)
            return {"error": failure.decode(errors="replace")}
        return {"pid": self.server}

    def wait(self, told: dict[str, object]) -> dict[str, object]:
        """Wait for the server to end, or for the owner to."""
        self._note_segment()
        self.until(lambda: not self.server or self.over, _seconds(told["seconds"]))
        return {"pid": self.server, "exit": self.exit}

    def stop(self, told: dict[str, object]) -> dict[str, object]:
        """Ask the server to end, wait, then kill it and all that is left of it."""
        self.end(_whole(told["signal"]), _seconds(told["seconds"]))
        return {"pid": self.server, "exit": self.exit}

    def kill(self, told: dict[str, object]) -> dict[str, object]:
        """SIGKILL the server alone, or the server and every process it made."""
        self.reap()
        if self.server:
            os.kill(self.server, signal.SIGKILL)
            self.until(lambda: not self.server, SWEEP_S)
        if told["everything"]:
            self.sweep()
        return {"pid": self.server, "exit": self.exit}

    def end(self, number: int, grace_s: float) -> None:
        """Signal, grace, SIGKILL, sweep."""
        self.reap()
        if self.server:
            os.kill(self.server, number)
            # Its children, too: one that initdb leaves behind ends when its input does, and tidies up if it may.
            self.until(lambda: not self.server and self.childless, grace_s)
        if self.server:
            os.killpg(self.server, signal.SIGKILL)  # not reaped yet, so the group is surely ours
            self.until(lambda: not self.server, SWEEP_S)
        self.sweep()

    def sweep(self) -> None:
        """Kill what is left: a killed child's children become ours and are killed in the next round."""
        deadline = time.monotonic() + SWEEP_S
        self.reap()
        while not self.childless and time.monotonic() < deadline:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            self.turn(0.02)

    def finish(self) -> bool:
        """Stop everything and remove the folders; False when a folder could not be removed."""
        if self.launch:
            self.end(self.launch.last_signal, self.launch.last_grace_s)
        if self.segment >= 0:
            ctypes.CDLL(None).shmctl(self.segment, IPC_RMID, None)
        # A list, not a generator: one folder that stays must not keep the others.
        return all([self.remove(folder) for folder in self.folders])  # noqa: C419

    def remove(self, folder: str) -> bool:
        """Remove a folder, again and again while something still writes to it."""
        import shutil  # noqa: PLC0415 - 8 ms that the start of a server must not wait for

        # Whoever works in it has a watcher of its own, which ends it; a PostgreSQL whose files go first leaves memory.
        self.until(lambda: not _worked_in(folder), WORKED_IN_S)
        deadline = time.monotonic() + REMOVE_S
        while True:
            if os.path.islink(folder):  # somebody put a link in its place: what it points to is not ours
                os.unlink(folder)
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.lexists(folder):
                return True
            if time.monotonic() > deadline:
                return False
            _open_up(folder)
            self.turn(0.05)


def _become(launch: Launch, complaint: int) -> NoReturn:
    """In the child: a session of its own, no more rights than needed, then exec."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (*IGNORED, signal.SIGCHLD, signal.SIGTERM, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # an ignored signal stays ignored through exec
        os.umask(0o077)
        log = os.open(launch.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        if launch.uid >= 0:
            os.setgroups([launch.gid])
            os.setgid(launch.gid)
            os.setuid(launch.uid)
        _prctl(PR_SET_PDEATHSIG, launch.last_signal)  # after setuid, which clears it
        os.chdir(launch.cwd)
        os.execve(launch.argv[0], launch.argv, launch.environment)  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - whatever it was, the child must say it and not return
        os.write(complaint, str(error).encode())
    os._exit(127)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children() -> list[int]:
    """Our living or dead children (Linux; elsewhere none are inherited, so there are none to find)."""
    found = []
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):  # it ended while we looked
                continue
            if parent == os.getpid():
                found.append(int(name))
    return found


def _worked_in(folder: str) -> bool:
    """Whether a process that we may look at has its current folder there (Linux; elsewhere nobody is seen)."""
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if name.isdigit():
            try:
                place = os.readlink(f"/proc/{name}/cwd")  # noqa: PTH115 - as above
            except OSError:  # it ended while we looked, or is somebody else's
                continue
            if place == folder or place.startswith(folder + "/"):
                return True
    return False


def _shared_memory(pid_file: str) -> int:
    """The segment of a PostgreSQL that was killed, else -1: line 7 of postmaster.pid is "key id"."""
    try:
        with open(pid_file, encoding="utf-8") as lines:
            return int(lines.read().splitlines()[6].split()[1])
    except (OSError, IndexError, ValueError):  # stopped cleanly, or not a PostgreSQL
        return -1


def _open_up(folder: str) -> None:
    """Give ourselves back the right to delete; root has it, and must not follow names that others can swap."""
    if os.geteuid():
        os.chmod(folder, 0o700)
        for parent, names, _ in os.walk(folder):
            for name in names:
                if not os.path.islink(inner := os.path.join(parent, name)):
                    os.chmod(inner, 0o700)


def main() -> int:
    """Watch until the owner goes; 3 when a folder could not be removed."""
    os.chdir("/")
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    watcher = Watcher(folders=json.loads(sys.argv[2]), owner=int(sys.argv[1]))
    os.write(ANSWERS, b'{"id": 0}\n')
    try:
        watcher.serve()
    finally:
        done = watcher.finish()
    return 0 if done else FOLDERS_LEFT


if __name__ == "__main__":
    sys.exit(main())
