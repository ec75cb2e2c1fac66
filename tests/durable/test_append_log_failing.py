"""An append that fails has not taken place: whoever was told so finds no record that nobody vouches for."""

from __future__ import annotations

from pathlib import Path

import pytest

from premortem.durable.append_log import AppendLog
from premortem.faults import syscalls
from premortem.faults.sweep.forks import every_crash

pytestmark = pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")


@pytest.mark.parametrize("effect", ["EIO", "ENOSPC"])
def test_what_was_refused_is_not_read_back(tmp_path: Path, effect: str) -> None:
    path, told = tmp_path / "done.log", tmp_path / "told"
    AppendLog(path).append(b"before")

    def append() -> None:
        with AppendLog(path) as log:
            try:
                log.extend((b"one", b"two"))
            except OSError:
                told.touch()
            log.append(b"after")

    struck = []
    for crash in every_crash(append, folder=tmp_path, effects=(effect,)):
        whole = [b"before", b"after"] if told.exists() else [b"before", b"one", b"two", b"after"]
        read = list(AppendLog(path).records()) if path.exists() else []
        assert read == whole[: len(read)], crash
        struck += [crash.recipe.what] if told.exists() else []
    assert {"write", "fsync"} & set(struck)
