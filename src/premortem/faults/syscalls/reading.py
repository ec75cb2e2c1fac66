"""From a notification of the kernel to an `Operation`: what the program is about to do, to what.

Other threads of the program may change what is pointed at between our look and the call itself (seccomp_unotify(2)
warns of it). That forbids this mechanism for security; for testing a program that does not cheat itself it does not
matter.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from premortem.faults.syscalls import memory
from premortem.faults.syscalls.calls import READS, SENDS, WRITES, Call
from premortem.faults.syscalls.descriptors import Descriptors
from premortem.faults.syscalls.operations import Kind, Operation

AT_REMOVEDIR = 0x200
_INFO_BYTES = 128  # its first two lines
_FOLLOWED = frozenset({"open", "truncate"})
_WITH_BYTES = WRITES | SENDS

Arguments = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class Reader:
    """Reads and counts the operations of one run. `watch`: what counts; `record`: with the bytes that are written."""

    descriptors: Descriptors
    watch: frozenset[str]
    record: bool = False
    count: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def read(self, thread: int, call: Call, arguments: Arguments) -> Operation | None:
        """The operation, counted; None where it is one that is not watched: a pipe, a device, a read of a file."""
        if call.descriptor is not None:
            return self._of_descriptor(thread, call, arguments, arguments[call.descriptor] & 0xFFFFFFFF)
        return self._of_path(thread, call, arguments)

    def note(self, thread: int, call: Call, arguments: Arguments) -> None:
        """Before counting begins: only remember whom a socket is connected to."""
        if call.address is not None:
            self._connected(thread, call, arguments)

    def _counts(self, call: Call, kind: Kind) -> bool:
        """Whether `call` counts at that kind of thing."""
        if kind == "file" and call.name in READS:
            return "read" in self.watch
        return kind in self.watch

    def _of_descriptor(self, thread: int, call: Call, arguments: Arguments, descriptor: int) -> Operation | None:
        if call.address is not None:
            kind, target = self._connected(thread, call, arguments)
        else:
            link = self.descriptors.link(thread, descriptor)
            if not self._counts(call, "file" if link[:1] == "/" else "socket"):
                return None
            kind, target = self.descriptors.named(link, thread, descriptor)
        if kind == "other" or not self._counts(call, kind):
            return None
        size, ordinal = self._size(thread, call, arguments), self.descriptors.ordinal(thread)
        flags, offset, data = self._recorded(thread, call, arguments, kind) if self.record else (0, None, b"")
        return Operation(*self._next(call.name), target, size, ordinal, kind, descriptor, "", flags, offset, data)

    def _of_path(self, thread: int, call: Call, arguments: Arguments) -> Operation | None:
        path = self._path(thread, arguments, call.folder, call.path, follow=call.name in _FOLLOWED)
        if "file" not in self.watch or self.descriptors.is_device(path):
            return None
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if call.name == "open" else 0  # creat has none of its own
        if call.flags is not None:
            flags = arguments[call.flags] & 0xFFFFFFFF
        elif call.how is not None:
            flags = memory.word(thread, arguments[call.how])
        name = "rmdir" if call.name == "unlink" and flags & AT_REMOVEDIR else call.name
        to = self.descriptors.relative(self._path(thread, arguments, call.to_folder, call.to, follow=False))
        if call.text is not None:
            to = memory.string(thread, arguments[call.text])
        return Operation(
            *self._next(name),
            self.descriptors.relative(path) if path else "",
            arguments[call.length] if call.length is not None else None,
            self.descriptors.ordinal(thread),
            to=to,
            flags=flags,
        )

    def _next(self, name: str) -> tuple[int, str, int]:
        self.count += 1
        nth = self.counts[name] = self.counts[name] + 1
        return self.count, name, nth

    def _path(
        self, thread: int, arguments: Arguments, folder: int | None, position: int | None, *, follow: bool
    ) -> str:
        if position is None:
            return ""
        start = None if folder is None else arguments[folder]
        return self.descriptors.path(thread, start, memory.string(thread, arguments[position]), follow=follow)

    def _connected(self, thread: int, call: Call, arguments: Arguments) -> tuple[Kind, str]:
        assert call.address is not None
        assert call.count is not None
        address = memory.address(memory.read(thread, arguments[call.address], arguments[call.count] & 0xFFFF))
        return self.descriptors.connected(self.descriptors.link(thread, arguments[0]), address)

    def _size(self, thread: int, call: Call, arguments: Arguments) -> int | None:
        if call.source is not None:
            return self._left(thread, call, arguments)[1]
        if call.vector is not None or call.message is not None:
            return sum(count for _, count in pieces(thread, call, arguments))
        if call.length is not None:
            return arguments[call.length]
        return arguments[call.count] if call.count is not None and call.address is None else None

    def _recorded(self, thread: int, call: Call, arguments: Arguments, kind: Kind) -> tuple[int, int | None, bytes]:
        """The flags, where the bytes go, and the bytes."""
        data = self._data(thread, call, arguments)
        if kind != "file":
            return 0, None, data
        assert call.descriptor is not None
        descriptor = arguments[call.descriptor]
        position, flags = opened(thread, descriptor)
        offset = self._offset(thread, call, arguments, position)
        if flags & os.O_APPEND and call.name in WRITES:
            with suppress(OSError):
                offset = Path(f"/proc/{thread}/fd/{descriptor}").stat().st_size
        if call.flags is not None:
            flags = arguments[call.flags] & 0xFFFFFFFF
        return flags, offset, data

    def _offset(self, thread: int, call: Call, arguments: Arguments, position: int) -> int:
        if call.offset is None:
            return position
        if call.source is not None:  # it points at its offset, or at nothing
            return memory.word(thread, arguments[call.offset]) if arguments[call.offset] else position
        return position if arguments[call.offset] == 0xFFFFFFFFFFFFFFFF else arguments[call.offset]  # noqa: PLR2004 - -1

    def _data(self, thread: int, call: Call, arguments: Arguments) -> bytes:
        if call.name not in _WITH_BYTES:
            return b""
        if call.source is None:
            return memory.gather(thread, pieces(thread, call, arguments))
        start, left = self._left(thread, call, arguments)
        try:
            source = os.open(f"/proc/{thread}/fd/{arguments[call.source]}", os.O_RDONLY)
        except OSError:
            return b""
        try:
            return os.pread(source, left, start)
        finally:
            os.close(source)

    def _left(self, thread: int, call: Call, arguments: Arguments) -> tuple[int, int]:
        """Where copying starts in its source, and how many bytes there are to copy."""
        assert call.source is not None
        assert call.source_offset is not None
        assert call.count is not None
        source, pointer = arguments[call.source], arguments[call.source_offset]
        start = memory.word(thread, pointer) if pointer else opened(thread, source)[0]
        size = start
        with suppress(OSError):
            size = Path(f"/proc/{thread}/fd/{source}").stat().st_size
        return start, max(0, min(arguments[call.count], size - start))


def pieces(thread: int, call: Call, arguments: Arguments) -> list[tuple[int, int]]:
    """Where in its memory the bytes lie that `call` writes or reads: (address, how many) each."""
    if call.vector is not None:
        assert call.count is not None
        return memory.vectors(thread, arguments[call.vector], arguments[call.count])
    if call.message is not None:
        return memory.message(thread, arguments[call.message])
    if call.buffer is not None:
        assert call.count is not None
        return [(arguments[call.buffer], arguments[call.count])]
    return []


def opened(thread: int, descriptor: int) -> tuple[int, int]:
    """The position in an open file, in bytes, and the flags that it is open with; (0, 0) where that is not known."""
    try:
        info = os.open(f"/proc/{thread}/fdinfo/{descriptor}", os.O_RDONLY)
    except OSError:
        return 0, 0
    try:
        words = os.read(info, _INFO_BYTES).split(None, 4)  # pos: N flags: OCTAL
        return int(words[1]), int(words[3], 8)
    except (OSError, IndexError, ValueError):
        return 0, 0
    finally:
        os.close(info)
