"""What an injector says, heard; Hypothesis without a stopwatch: the machine may be busy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from premortem.events import Event, listening

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    """Every event of the test, in order."""
    events: list[Event] = []
    with listening(events.append):
        yield events
