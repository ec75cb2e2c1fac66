"""Functions and commands in child processes: what comes back, and how they end."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import FaultError, Hung, WorkerDiedError
from premortem.faults import children, processes
from premortem.faults.children.fresh import run_fresh

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(VALUES)
def test_a_function_gives_back_what_it_returns(value: object) -> None:
    assert children.run(lambda: value) == value


def test_an_answer_may_be_larger_than_a_pipe() -> None:
    assert len(children.run(lambda: b"x" * 5_000_000)) == 5_000_000


def test_an_error_comes_back_with_where_it_was_raised() -> None:
    def fails() -> None:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here") as caught:
        children.run(fails)
    assert "in fails" in caught.value.__notes__[0]


def test_what_cannot_leave_the_child_is_said() -> None:
    with pytest.raises(FaultError, match="cannot leave the child process"):
        children.run(threading.Lock)


def test_a_child_that_dies_is_named() -> None:
    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerDiedError, match="dies died: killed by SIGKILL"):
        children.run(dies)


def test_a_child_that_hangs_ends_with_all_that_it_started(tmp_path: Path) -> None:
    def hangs() -> None:
        (tmp_path / "pid").write_text(str(os.fork() or ""))
        signal.pause()

    with pytest.raises(Hung):
        children.run(hangs, time_s=0.2)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text() or 0}/exe").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_child_goes_with_who_waits_for_it(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    code = (
        "import os, signal, threading\nfrom premortem.faults import children\n"
        "def child():\n    open('pid', 'w').write(str(os.getpid()))\n    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    signal.pause()\nchildren.run(child, time_s=600)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: processes.state(pid) in "XZ")


def test_a_grandchild_that_holds_the_pipes_is_not_waited_for() -> None:
    began = time.monotonic()
    ended = children.run(["sh", "-c", "sleep 600 & echo said"], time_s=300)
    assert ended == children.Ended(0, "said\n")
    assert time.monotonic() - began < 200


def test_a_command_gives_its_status_and_its_output(tmp_path: Path) -> None:
    ended = children.run(["sh", "-c", "echo $A; pwd >&2; exit 3"], environment={"A": "a"}, folder=tmp_path)
    assert ended == children.Ended(3, f"a\n{tmp_path}\n")
    assert ended.cause == "exit status 3"
    assert children.run(["sh", "-c", "kill -9 $$"]).cause == "killed by SIGKILL"


def test_a_command_that_is_not_there_is_the_injectors_failure() -> None:
    with pytest.raises(FaultError, match="cannot be started"):
        children.run(["premortem-no-such-command"])


def test_what_we_have_printed_is_not_printed_again(capfd: pytest.CaptureFixture[str]) -> None:
    print("once", end="")  # noqa: T201 - the buffer of standard output is what is tested
    children.run(lambda: print("inside", end=""))  # noqa: T201 - as above
    assert capfd.readouterr().out == "onceinside"


def test_nothing_stays_open_and_nobody_unburied() -> None:
    children.run(os.getpid)
    before = set(os.listdir("/dev/fd"))  # noqa: PTH208 - numbers
    for _ in range(20):
        children.run(os.getpid)
    assert set(os.listdir("/dev/fd")) == before  # noqa: PTH208 - as above
    with suppress(ChildProcessError):  # no child at all; a watchdog of another test may live on
        assert os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def doubled(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is below 0")
    return 2 * number


def huge() -> bytes:
    return b"x" * 3_000_000


def endless() -> None:
    signal.pause()


def test_a_new_interpreter_calls_a_function_of_a_module() -> None:
    assert run_fresh(doubled, 21, environment={}) == 42
    assert len(run_fresh(huge, environment={})) == 3_000_000
    assert run_fresh(os.getenv, "FRESH", environment={"FRESH": "air"}) == "air"


def test_a_new_interpreter_tells_errors_deaths_and_hangs() -> None:
    with pytest.raises(ValueError, match="-1 is below 0") as caught:
        run_fresh(doubled, -1, environment={})
    assert "in doubled" in caught.value.__notes__[0]
    with pytest.raises(WorkerDiedError, match="exit status 4"):
        run_fresh(os._exit, 4, environment={})
    with pytest.raises(Hung):
        run_fresh(endless, environment={}, time_s=0.3)


def test_a_new_interpreter_cannot_find_what_stands_in_a_function() -> None:
    with pytest.raises(FaultError, match="move it to the top of its module"):
        run_fresh(lambda: 1, environment={})


def test_a_module_that_is_known_by_its_file_alone_is_loaded_from_there(tmp_path: Path) -> None:
    path = tmp_path / "exhibit_of_its_own.py"
    path.write_text("import os\ndef where():\n    return __name__, os.getpid()\n")
    spec = __import__("importlib.util").util.spec_from_file_location("exhibit_of_its_own", path)
    module = __import__("importlib.util").util.module_from_spec(spec)
    sys.modules["exhibit_of_its_own"] = module
    try:
        spec.loader.exec_module(module)
        name, pid = run_fresh(module.where, environment={})
    finally:
        del sys.modules["exhibit_of_its_own"]
    assert name == "exhibit_of_its_own"
    assert pid != os.getpid()
    assert pickle.dumps(name)
