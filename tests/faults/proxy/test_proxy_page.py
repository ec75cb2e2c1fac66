"""The page on how to add a fault: its example is run, and does what the page says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from premortem.faults.proxy.chain import Chain
from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Stage

PAGE = Path(__file__).parents[3] / "docs" / "faults" / "adding-a-fault.md"


def test_the_example_of_the_page_works(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file, test = blocks[0], blocks[-1]

    def stage(fault: Fault) -> Stage:
        made = fault.stage(Draws(1, 1, "test"))
        assert made is not None
        return made

    module = types.ModuleType("stutter")
    monkeypatch.setitem(sys.modules, "stutter", module)  # where a dataclass looks for its module
    module.__dict__["stage"] = stage
    exec(compile(file, str(PAGE), "exec"), module.__dict__)
    exec(compile(test, str(PAGE), "exec"), module.__dict__)
    module.__dict__["test_a_stutter_delays_what_comes_after_a_silence_and_nothing_else"]()
    chain = Chain()
    chain.add(1, stage(module.__dict__["Stutter"](1.0, 0.5)))
    chain.feed(10.0, b"first")
    chain.feed(10.1, b"second")
    assert chain.ready(10.4) == []
    assert chain.ready(10.5) == [b"first", b"second"]
