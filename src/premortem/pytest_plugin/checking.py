"""Fixtures that judge: a ledger of what was acknowledged, and a clock that a test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from premortem.ports import ManualClock

if TYPE_CHECKING:
    from premortem.experiment.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    """A ledger: what was acknowledged, failed or left unknown, held against a final read."""
    from premortem.experiment.ledger import Ledger  # noqa: PLC0415 - brought in by the test that asks for it

    return Ledger()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it: hand it in where the code takes a `ports.Clock`."""
    return ManualClock()
