"""Whatever a program does, its supervisor sees its calls, never hangs, and leaves nothing of it behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError
from premortem.faults import syscalls
from premortem.faults.syscalls import GO, Decision, Fail, Kill, Operation

LONG_S = 20.0
say = print  # how a program under test tells what it saw


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def eventually(reached: Callable[[], bool]) -> None:
    ends = time.monotonic() + LONG_S
    while not reached():
        assert time.monotonic() < ends
        time.sleep(0.005)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_output_and_status(tmp_path: Path) -> None:
    ended = syscalls.run(
        python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), folder=tmp_path
    )
    assert (ended.status, sorted(ended.output.split())) == (3, ["err", "out"])
    assert not ended.operations


def test_only_the_end_of_a_long_output_is_kept(tmp_path: Path) -> None:
    ended = syscalls.run(python("print('x' * 1_000_000); print('end')"), folder=tmp_path, time_s=LONG_S)
    assert ended.status == 0
    assert ended.output.endswith("x\nend\n")
    assert len(ended.output) < 70_000
    assert "bytes before this were left out" in ended.output


def test_a_callable_that_raises_tells_its_traceback(tmp_path: Path) -> None:
    def program() -> None:
        raise ValueError("no good")

    ended = syscalls.run(program, folder=tmp_path)
    assert ended.status == 1
    assert "ValueError: no good" in ended.output


def test_a_callable_has_its_environment_and_its_exit_code(tmp_path: Path) -> None:
    def program() -> None:
        say(os.environ["HELLO"], Path.cwd() == tmp_path, sys.stdin.read() == "")
        sys.exit(7)

    ended = syscalls.run(program, folder=tmp_path, environment={"HELLO": "world"})
    assert (ended.status, ended.output) == (7, "world True True\n")


def test_the_environment_is_all_that_a_command_gets(tmp_path: Path) -> None:
    ended = syscalls.run(["/usr/bin/env"], folder=tmp_path, environment={"HELLO": "world"})
    assert sorted(ended.output.split()) == ["HELLO=world", "PYTHONDONTWRITEBYTECODE=1"]


def test_a_program_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    text = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(1000)
"""
    ended = syscalls.run(python(text), folder=tmp_path, time_s=1.0)
    assert ended.timed_out
    assert ended.status == -signal.SIGKILL
    assert gone(int(ended.output))


def test_a_daemon_that_left_is_ended_with_the_program(tmp_path: Path) -> None:
    text = """
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        open("daemon", "w").write(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
while not os.path.exists("daemon") or not open("daemon").read(): time.sleep(0.001)
"""
    ended = syscalls.run(python(text), folder=tmp_path, time_s=LONG_S)
    assert (ended.status, ended.timed_out) == (0, False)
    assert gone(int((tmp_path / "daemon").read_text()))
    assert {one.process for one in ended.operations} == {1}, "only the daemon writes"


def test_a_dead_supervisor_takes_the_family_with_it(tmp_path: Path) -> None:
    text = f"""
from pathlib import Path
from premortem.faults import syscalls
syscalls.run(["sh", "-c", "sleep 1000 & echo $! $$ > pids; wait"], folder=Path({str(tmp_path)!r}), time_s=1000)
"""
    supervisor = subprocess.Popen(python(text))
    pids = tmp_path / "pids"
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: all(gone(int(process)) for process in pids.read_text().split()))


def test_an_error_of_the_one_who_decides_ends_the_run(tmp_path: Path) -> None:
    def decide(operation: Operation) -> Decision:
        raise RuntimeError(str(operation))

    with pytest.raises(RuntimeError, match="open#1 data"):
        syscalls.run(lambda: Path("data").write_bytes(b"x"), decide, folder=tmp_path)
    assert not (tmp_path / "data").exists()


def test_children_of_every_kind_are_watched(tmp_path: Path) -> None:
    text = """
import os, subprocess, sys
write = "open(%r, 'w').write('x')"
subprocess.run([sys.executable, "-c", write % "spawned"], check=True)
os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-c", write % "posix"], os.environ), 0)
if not os.fork():
    exec(write % "forked"); os._exit(0)
os.wait()
"""
    ended = syscalls.run(python(text), folder=tmp_path, time_s=LONG_S)
    assert ended.status == 0, ended.output
    seen = [(one.process, one.call, one.target) for one in ended.operations]
    assert seen == [
        (number, call, name)
        for number, name in enumerate(["spawned", "posix", "forked"], 1)
        for call in ("open", "write")
    ]


def test_threads_are_all_answered(tmp_path: Path) -> None:
    text = """
import os, threading
def work(number):
    descriptor = os.open(f"file{number}", os.O_WRONLY | os.O_CREAT)
    for _ in range(50):
        os.write(descriptor, b"x")
threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
for one in threads: one.start()
for one in threads: one.join()
"""
    ended = syscalls.run(python(text), folder=tmp_path, time_s=LONG_S)
    assert ended.status == 0, ended.output
    assert sum(one.call == "write" for one in ended.operations) == 400
    assert {one.process for one in ended.operations} == {1}


def test_signals_in_the_target_count_no_call_twice(tmp_path: Path) -> None:
    text = """
import os, signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
descriptor = os.open("data", os.O_WRONLY | os.O_CREAT)
for _ in range(500): os.write(descriptor, b"x")
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    ended = syscalls.run(python(text), folder=tmp_path, time_s=LONG_S)
    assert ended.status == 0, ended.output
    assert sum(one.call == "write" for one in ended.operations) == 500
    assert (tmp_path / "data").stat().st_size == 500


def test_signals_to_the_supervisor_do_not_disturb(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        text = "import os; d = os.open('data', os.O_WRONLY | os.O_CREAT)\nfor _ in range(500): os.write(d, b'x')"
        ended = syscalls.run(python(text), folder=tmp_path, time_s=LONG_S)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (ended.status, len(ended.operations)) == (0, 501)


def test_interrupted_it_ends_the_family(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def interrupt() -> None:
        eventually(lambda: pids.exists() and pids.read_text().strip() != "")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background
    try:
        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            syscalls.run(["sh", "-c", "echo $$ > pids; exec sleep 1000"], folder=tmp_path, time_s=LONG_S)
        interrupter.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert gone(int(pids.read_text()))


def test_a_target_that_is_killed_while_it_waits(tmp_path: Path) -> None:
    def decide(operation: Operation) -> Decision:
        if operation.call == "write":
            os.kill(int(pid.read_text()), signal.SIGKILL)
            eventually(lambda: gone(int(pid.read_text())))
            return Fail(5)
        return GO

    text = "import os; os.symlink(str(os.getpid()), 'x'); os.write(os.open('data', 65), b'x')"
    pid = tmp_path / "pid"

    def note(operation: Operation) -> Decision:
        if operation.call == "symlink":
            pid.write_text(operation.to)
        return decide(operation)

    ended = syscalls.run(python(text), note, folder=tmp_path)
    assert ended.status == -signal.SIGKILL
    assert not ended.struck, "the answer reached nobody"


def test_from_the_mark_on(tmp_path: Path) -> None:
    text = """
from pathlib import Path
from premortem.faults import syscalls
Path("before").write_bytes(b"x")
syscalls.arm()
Path("after").write_bytes(b"x")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(syscalls.__file__).parents[3])}
    ended = syscalls.run(python(text), folder=tmp_path, environment=environment, from_mark=True, time_s=LONG_S)
    assert [str(one) for one in ended.operations] == ["open#1 after", "write#1 after 1 bytes"], ended.output
    syscalls.arm()  # does nothing where nobody supervises


def test_reads_of_files_count_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x")

    def program() -> None:
        os.read(os.open("data", os.O_RDONLY), 9)

    assert not syscalls.run(program, folder=tmp_path).operations
    ended = syscalls.run(program, watch=["file", "read"], folder=tmp_path)
    assert [str(one) for one in ended.operations] == ["open#1 data", "read#1 data 9 bytes"]


def test_paths_are_seen_from_the_folder_through_links_and_other_folders(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    def program() -> None:
        Path("link/one").write_bytes(b"x")
        folder = os.open("real", os.O_RDONLY | os.O_DIRECTORY)
        os.rename("one", "two", src_dir_fd=folder, dst_dir_fd=folder)
        os.chdir("real")
        Path("two").rename("../three")
        Path("/dev/null").write_bytes(b"nobody's data")

    ended = syscalls.run(program, folder=tmp_path)
    assert [(one.call, one.target, one.to) for one in ended.operations] == [
        ("open", "real/one", ""),
        ("write", "real/one", ""),
        ("rename", "real/one", "real/two"),
        ("rename", "real/two", "three"),
    ]


def test_a_static_program_is_watched(tmp_path: Path) -> None:
    """There is no library in it to preload another one in front of."""
    program = Path("/sbin/ldconfig")
    if not program.exists() or b"ld-linux" in program.read_bytes()[:4096]:
        pytest.skip(f"{program}, which is static with glibc, is not here")
    ended = syscalls.run([str(program), "-X", "-C", str(tmp_path / "cache")], folder=tmp_path)
    assert ended.status == 0, ended.output
    assert ("rename", "cache~", "cache") in {(one.call, one.target, one.to) for one in ended.operations}


def test_no_descriptor_and_no_process_is_left(tmp_path: Path) -> None:
    def state() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
        return len(list(Path("/proc/self/fd").iterdir())), len(children.read_text().split()) if children.exists() else 0

    syscalls.run(["true"], folder=tmp_path)
    before = state()
    for decision in (GO, Kill(), Fail(5)):
        syscalls.run(python("import os; open('x', 'w').write('x')"), lambda _, to=decision: to, folder=tmp_path)  # type: ignore[misc] # a default binds it
    assert state() == before


@pytest.mark.parametrize(
    ("start", "options", "words"),
    [
        (["no-such-program"], {}, "no-such-program: there is no such program"),
        ([], {}, "has to be a list"),
        ("ls -l", {}, "has to be a list"),
        (["true"], {"watch": ["files"]}, "has to be among file, read, socket"),
        (["true"], {"time_s": 0}, "has to be above 0"),
    ],
)
def test_mistakes_are_explained(start: list[str], options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        syscalls.run(start, **options)  # type: ignore[arg-type] # mistaken on purpose


def test_a_program_that_cannot_be_executed_says_so(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\0 no program")
    program.chmod(0o755)
    ended = syscalls.run([str(program)], folder=tmp_path)
    assert ended.status == 126
    assert "Exec format error" in ended.output


REFUSED = """
import ctypes, platform, struct
from premortem.faults import syscalls
from premortem.faults.syscalls import bpf, structs
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 438), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]  # pidfd_getfd: EPERM
code = b"".join(bpf.INSTRUCTION.pack(*one) for one in code)
structs.prctl(38, 1)
program = structs._Program(len(code) // 8, code)
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
print(repr(syscalls.why_not()), syscalls.why_not_all())
"""


def test_where_descriptors_cannot_be_taken_calls_can_still_be_failed() -> None:
    """As in a container with Docker's default profile."""
    answer = subprocess.run(python(REFUSED), capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("'' write#1 trial 6 bytes: pidfd_getfd is refused here")


def test_one_supervisor_to_a_family(tmp_path: Path) -> None:
    """A program that intercepts others cannot be intercepted itself, and says why."""
    text = "from premortem.faults import syscalls; print(syscalls.why_not())"
    assert "Device or resource busy" in syscalls.run(python(text), folder=tmp_path, time_s=LONG_S).output


SERVER = """
import socket, sys
family = socket.AF_UNIX if sys.argv[1] == "unix" else socket.AF_INET
with socket.socket(family) as server:
    server.bind("socket" if sys.argv[1] == "unix" else ("127.0.0.1", 0))
    server.listen()
    print(*server.getsockname() if sys.argv[1] != "unix" else "-", flush=True)
    open("ready", "w").write(str(server.getsockname()[1]))
    for _ in range(2):
        with server.accept()[0] as client:
            client.sendall(client.recv(9))
"""


@pytest.mark.parametrize("family", ["inet", "unix"])
def test_what_a_server_accepts_has_the_name_of_its_address(family: str, tmp_path: Path) -> None:
    """The port of a client is another in each run."""
    ready = tmp_path / "ready"

    def call() -> None:
        eventually(lambda: ready.exists() and ready.read_text() != "")
        for _ in range(2):
            with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET) as client:
                client.settimeout(LONG_S)
                address = str(tmp_path / "socket") if family == "unix" else ("127.0.0.1", int(ready.read_text()))
                client.connect(address)
                client.sendall(b"hello")
                assert client.recv(9) == b"hello"

    caller = threading.Thread(target=call)
    caller.start()
    ended = syscalls.run([*python(SERVER), family], watch=["socket"], folder=tmp_path, time_s=LONG_S)
    caller.join()
    assert ended.status == 0, ended.output
    name = "socket" if family == "unix" else f"127.0.0.1:{ready.read_text()}"
    assert [(one.call, one.target) for one in ended.operations] == [
        (call, name) for call in ("accept", "recvfrom", "sendto") * 2
    ]


def test_runs_in_threads_side_by_side(tmp_path: Path) -> None:
    """Each supervisor answers its own program."""
    found: dict[str, list[str]] = {}

    def supervise(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        text = f"import os; d = os.open({name!r}, 65)\nfor _ in range(100): os.write(d, b'x')"
        ended = syscalls.run(python(text), folder=folder, time_s=LONG_S)
        found[name] = sorted({one.target for one in ended.operations}) if ended.status == 0 else [ended.output]

    names = [f"run{number}" for number in range(4)]
    threads = [threading.Thread(target=supervise, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [name] for name in names}
