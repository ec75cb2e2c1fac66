"""docs/faults/sweep.md is run: its files written, its commands typed, its Python executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from premortem.faults import syscalls

PAGE = (Path(__file__).parents[3] / "docs" / "faults" / "sweep.md").read_text()
_BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")
def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    ran = 0
    for kind, name, text in _BLOCK.findall(PAGE):
        if name:
            (tmp_path / name).write_text(text)
        elif kind == "python":
            subprocess.run([sys.executable, "-W", "error", "-c", text], cwd=tmp_path, check=True)
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:] if kind == "console" else ():
            line, *said = part.splitlines()
            done = subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            code = re.findall(r"^\[exit code (\d+)\]$", part, re.MULTILINE)
            assert done.returncode == (int(code[0]) if code else 0), done.stdout + done.stderr
            for fragment in (one.strip() for told in said if not told.startswith("[") for one in told.split("...")):
                assert fragment in done.stdout, f"{fragment!r} is not in\n{done.stdout}"
            ran += 1
    assert ran == 4
