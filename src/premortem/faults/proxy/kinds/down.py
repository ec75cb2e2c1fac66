"""Down: nobody listens at the port, and connections that live end, as when a server is stopped."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.kinds.fault import Fate, Fault


@dataclass(frozen=True, slots=True)
class Down(Fault):
    """connect() is refused and every connection ends in order. With a share below 1 new ones are reset instead."""

    name = "down"

    @property
    def closes_port(self) -> bool:
        """Where every connection is meant."""
        return self.share == 1

    def fate(self, *, live: bool, nth: int) -> Fate:  # noqa: ARG002 - all that live are alike, and so are all new ones
        """One that lives ends; a new one goes no further."""
        return Fate("close", "ended: the server is down") if live else Fate("reset", "turned away: the server is down")
