"""Refuse: nobody listens at the port, and connections that live go on."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.kinds.fault import Fate, Fault


@dataclass(frozen=True, slots=True)
class Refuse(Fault):
    """connect() is refused. With a share below 1 the port has to stay open: those that are drawn are reset at once."""

    name = "refuse"

    @property
    def closes_port(self) -> bool:
        """Where every connection is meant."""
        return self.share == 1

    def fate(self, *, live: bool, nth: int) -> Fate | None:  # noqa: ARG002 - all new ones are alike
        """A new one goes no further."""
        return None if live else Fate("reset", "turned away")
