"""Runs a Python program as `python` itself would, with some of its callables struck; started by path.

    python -u bootstrap.py script.py arguments
    python bootstrap.py -m module arguments
    python bootstrap.py -c code arguments

What to strike stands in PREMORTEM_SWEEP_CALLS. The interpreter may be another one than ours: nothing is imported but
the standard library and the two modules that patch, which are found beside this file. Prior art: coverage.py's `run`.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import types
from contextlib import ExitStack
from pathlib import Path

VARIABLE = "PREMORTEM_SWEEP_CALLS"


def main() -> None:
    """Patch, then be the program."""
    told = json.loads(os.environ.pop(VARIABLE))  # popped: a Python that the program starts is not ours
    here = str(Path(__file__).parents[3])  # the folder that holds the package `premortem`
    sys.argv = sys.argv[1:]
    mode = sys.argv[0]
    sys.path[0] = "" if mode == "-c" else str(Path.cwd()) if mode == "-m" else str(Path(mode).resolve().parent)
    sys.path.append(here)
    from premortem.errors import PremortemError  # noqa: PLC0415 - only now can it be found
    from premortem.faults.sweep import calls  # noqa: PLC0415 - same
    from premortem.model.recipe import Recipe  # noqa: PLC0415 - same

    sys.path.remove(here)
    report = os.open(told["report"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(**line: object) -> None:
        os.write(report, json.dumps(line).encode() + b"\n")

    with ExitStack() as stack:
        try:
            if told["recipe"]:
                stack.enter_context(calls.struck_at(Recipe.parse(told["recipe"]), tell=lambda hit: write(struck=hit)))
            else:
                stack.enter_context(calls.counted(tuple(told["names"]), lambda name, nth: write(name=name, nth=nth)))
        except PremortemError as error:  # not the program's: a traceback of ours would hide what is to be said
            sys.exit(f"premortem: {error}")
        _be(mode)


def _be(mode: str) -> None:
    if mode == "-m":
        name, sys.argv = sys.argv[1], sys.argv[1:]
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        return
    if mode == "-c":
        code, sys.argv, file = sys.argv[1], ["-c", *sys.argv[2:]], "<string>"
    else:
        code, file = Path(mode).read_text(encoding="utf-8"), mode
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    if mode != "-c":
        module.__file__ = file
    sys.modules["__main__"] = module
    exec(compile(code, file, "exec"), module.__dict__)  # noqa: S102 - it is what we were asked to run


if __name__ == "__main__":
    main()
