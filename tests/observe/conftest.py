"""Logs that are read back strictly, and waits with a deadline."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from premortem.events import Event, listening

Read = Callable[[Path], list[dict[str, object]]]
Eventually = Callable[[Callable[[], bool]], None]
_PATIENCE_S = 20.0


def strictly(line: bytes) -> dict[str, object]:
    """One line as a strict reader takes it: no NaN, no key twice, no lone surrogate, one line."""

    def refused(name: str) -> object:
        raise AssertionError(f"{name} is no JSON: {line!r}")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len({name for name, _ in pairs}) == len(pairs), f"a key comes twice: {line!r}"
        return dict(pairs)

    text = line.decode("utf-8")
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1, f"more than one line: {line!r}"
    found = json.loads(text, parse_constant=refused, object_pairs_hook=unique)
    assert isinstance(found, dict)
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


@pytest.fixture
def strict() -> Callable[[bytes], dict[str, object]]:
    return strictly


@pytest.fixture
def read() -> Read:
    return lambda path: [strictly(line) for line in path.read_bytes().splitlines(keepends=True)]


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    events: list[Event] = []
    with listening(events.append):
        yield events


@pytest.fixture
def eventually() -> Eventually:
    def wait(reached: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not reached():
            assert time.monotonic() < until, f"did not happen within {_PATIENCE_S} s"
            time.sleep(0.002)

    return wait
