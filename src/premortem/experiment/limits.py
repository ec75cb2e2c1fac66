"""What one task may use before its warden ends it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from premortem.errors import ConfigurationError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, resident bytes of all its processes together, their number, and bytes of output that are kept.

    The defaults leave an exhibit (ten seconds, a hundred rows) room to spare, and a machine room to live.
    """

    time_s: float = 10.0
    memory_bytes: int = 1024 * MIB
    processes: int = 100
    output_bytes: int = 16 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{field.name} = {value!r}: a limit has to be a finite number above 0")
