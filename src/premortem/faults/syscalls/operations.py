"""One watched call, as it is seen before it takes place; and two runs' calls made comparable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "socket", "other"]

_PORT = re.compile(r"(?<=:)[0-9]+$")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a program is about to do.

    `index` counts all of them from 1, `nth` those of this `call`. `target` is a path, relative to the folder of the
    run where it lies below it, or an address ("127.0.0.1:5432"); empty where it is not known. `size` is in bytes: to
    be written or read, or the new length of a truncated file. `process` numbers the processes from 1 as they first show
    up. `to` is the other path of a rename or a link. `data`, `offset` (bytes from the start of the file) and the
    `flags` of an open file (as of open(2)) are there only in a run that records data.
    """

    index: int
    call: str
    nth: int
    target: str = ""
    size: int | None = None
    process: int = 1
    kind: Kind = "file"
    descriptor: int = -1
    to: str = ""
    flags: int = 0
    offset: int | None = None
    data: bytes = b""

    def __str__(self) -> str:
        parts = [f"{self.call}#{self.nth}", self.target]
        parts += [f"-> {self.to}"] if self.to else []
        parts += [f"{self.size} bytes"] if self.size is not None else []
        return " ".join(part for part in parts if part)


def sequence(operations: Iterable[Operation]) -> tuple[tuple[str, str], ...]:
    """Each (call, target), for comparing runs: ports become "port1", "port2" ... in the order they show up."""
    ports: dict[str, str] = {}

    def stable(operation: Operation) -> str:
        if operation.kind != "socket":
            return operation.target
        return _PORT.sub(lambda found: ports.setdefault(found[0], f"port{len(ports) + 1}"), operation.target)

    return tuple((operation.call, stable(operation)) for operation in operations)
