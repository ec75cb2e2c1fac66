"""A function in a new interpreter, for faults that have to be there before the first instruction (LD_PRELOAD).

The function goes by reference, its module by name or else by file (an exhibit is loaded from its file), arguments
and answer pickled. So it has to stand at the top of a module, and sees nothing of its caller's memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import reduce
from types import ModuleType
from typing import TypeVar, cast

from premortem.errors import FaultError, Hung, WorkerDiedError
from premortem.faults.children import Ended

T = TypeVar("T")

_START = "from premortem.faults.children.fresh import answer; answer()"


def run_fresh(
    function: Callable[..., T], *arguments: object, environment: Mapping[str, str], time_s: float = 10.0
) -> T:
    """What `function` returns, or raises, in a new interpreter whose environment has `environment` added.

    Hung when it takes more than `time_s` seconds, WorkerDiedError when it died before it could answer.
    """
    module, name = function.__module__, function.__qualname__
    if "<" in name:
        raise FaultError(f"{name}: a new interpreter cannot find it; move it to the top of its module")
    reference = (module, getattr(sys.modules[module], "__file__", None), name, sys.path)
    request = pickle.dumps((reference, pickle.dumps(arguments)))
    with tempfile.TemporaryFile() as answers:  # a pipe would have to be read while we wait
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(answers.fileno())],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            pass_fds=[answers.fileno()],
            start_new_session=True,
        )
        try:
            process.communicate(request, time_s)
        except subprocess.TimeoutExpired:
            raise Hung(time_s) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answers.seek(0)
        said = answers.read()
    if not said:
        raise WorkerDiedError(name, Ended(process.returncode, "").cause)
    returned, value = pickle.loads(said)  # noqa: S301 - written by the process that we started a moment ago
    if returned:
        return cast("T", value)
    raise value


def answer() -> None:
    """The new interpreter's side: read the request, call, write the answer to the descriptor that argv names."""
    (module, file, name, path), arguments = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - from our parent
    sys.path[:] = path
    with os.fdopen(int(sys.argv[1]), "wb") as answers:
        try:
            function = reduce(getattr, name.split("."), _module(module, file))
            value = (True, function(*pickle.loads(arguments)))  # type: ignore[operator]  # noqa: S301 - as above
        except BaseException as error:  # noqa: BLE001 - it is raised again on the other side
            error.add_note("in a new interpreter:\n" + "".join(traceback.format_tb(error.__traceback__)))
            value = (False, error)
        pickle.dump(value, answers)


def _module(name: str, file: str | None) -> ModuleType:
    """By its file where that is known, under its own name, so that what is pickled finds its classes."""
    if name != "__main__":
        with suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    if file is None:
        raise FaultError(f"{name}: has neither a file nor a name that can be imported; put the function into a module")
    as_name = "__mp_main__" if name == "__main__" else name  # so that `if __name__ == "__main__"` does not run
    spec = importlib.util.spec_from_file_location(as_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = sys.modules[as_name] = module
    spec.loader.exec_module(module)
    return module
