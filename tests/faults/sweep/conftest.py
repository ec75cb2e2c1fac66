"""A shop with a bank, written as a user would write them, and commands that judge them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

PYTHON = sys.executable
BANK = """
import asyncio
from pathlib import Path

class Account:
    limit = 10

    def __init__(self): self.paid = []
    def pay(self, order): self.paid.append(order); return f"paid {order}"
    @staticmethod
    def check(order): return order > 0
    @classmethod
    def least(cls): return cls.limit

class Savings(Account): pass

def charge(order):
    with Path("ledger").open("a") as file: file.write(f"{order}\\n")
    return "charged"

async def later(order):
    await asyncio.sleep(0)
    return f"later {order}"
"""


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `shop_bank`, fresh."""
    (tmp_path / "shop_bank.py").write_text(BANK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    import shop_bank  # type: ignore[import-not-found]  # noqa: PLC0415 - it was just written

    yield shop_bank
    del sys.modules["shop_bank"]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a program below `tmp_path`, and get its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write
