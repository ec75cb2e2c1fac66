"""The faults of one direction of one connection, one stage after the other in the order in which they were armed.

Laws:
- First in, first out, at every stage: no delay, however it is drawn, lets one byte overtake another.
- A stage sees each item at the time at which the stage before let it go, not when somebody woke up: delays add up.
- Pure: the time comes in, what has come through comes out.
"""

from __future__ import annotations

from collections import deque

from premortem.faults.proxy.protocols import Hit
from premortem.faults.proxy.stream import Aside, Item, Last, Stage, Timed


class _Node:
    __slots__ = ("fault", "held", "last", "size", "stage", "told")

    def __init__(self, fault: int, stage: Stage) -> None:
        self.fault = fault
        self.stage = stage
        self.held: deque[Timed] = deque()
        self.size = 0  # bytes held
        self.last = 0.0  # when the last item is due
        self.told = False


class Chain:
    """What is fed comes out of `feed`, `finish`, `ready` and `remove`, at its time."""

    def __init__(self) -> None:
        self._nodes: list[_Node] = []

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def held_bytes(self) -> int:
        """What is inside."""
        return sum(node.size for node in self._nodes)

    @property
    def empty(self) -> bool:
        """Nothing is inside, not even an end."""
        return not any(node.held for node in self._nodes)

    @property
    def room_bytes(self) -> int:
        """How much may come in before the sender has to wait; 0: nothing."""
        return max(0, min((node.stage.room_bytes - node.size for node in self._nodes), default=0))

    @property
    def due(self) -> float | None:
        """When to ask for `ready` next."""
        return min((node.held[0][0] for node in self._nodes if node.held), default=None)

    def add(self, fault: int, stage: Stage) -> None:
        """One more stage, behind those that are there."""
        self._nodes.append(_Node(fault, stage))

    def has(self, fault: int) -> bool:
        """Whether this fault has a stage here."""
        return any(node.fault == fault for node in self._nodes)

    def feed(self, now: float, data: bytes) -> list[Item]:
        """Bytes from the sender. What has come through by now."""
        through: list[Item] = []
        self._push(0, now, now, data, through)
        return through

    def finish(self, now: float, last: Last) -> list[Item]:
        """The sender's last word. What has come through by now."""
        through: list[Item] = []
        self._push(0, now, now, last, through)
        return through

    def ready(self, now: float) -> list[Item]:
        """What has become due."""
        through: list[Item] = []
        for index, node in enumerate(self._nodes):
            while node.held and node.held[0][0] <= now:
                due, item = self._pop(node)
                self._push(index + 1, due, now, item, through)
        return through

    def reach_last(self, now: float, item: Item) -> list[Item]:
        """As if the last stage but one had let it go."""
        through: list[Item] = []
        self._push(len(self._nodes) - 1, now, now, item, through)
        return through

    def inject(self, fault: int, now: float, item: Item) -> list[Item]:
        """As if the stage of this fault had let it go, behind what it holds."""
        through: list[Item] = []
        for index, node in enumerate(self._nodes):
            if node.fault == fault:
                self._let_go(index, now, now, item, through)
        return through

    def remove(self, fault: int, now: float) -> list[Item]:
        """Take a stage out; what it held goes on at once and in order."""
        through: list[Item] = []
        for index in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[index]
            if node.fault == fault:
                rest = [*(item for _, item in node.held), *(item for _, item in node.stage.leave(now))]
                del self._nodes[index]
                for item in rest:
                    self._push(index, now, now, item, through)
        return through

    def replace(self, fault: int, stage: Stage, now: float) -> list[Item]:
        """Put another stage in its place; what it held comes to the new one as if it came now."""
        through: list[Item] = []
        for index, node in enumerate(self._nodes):
            if node.fault == fault:
                rest = [item for _, item in node.held]
                told = node.told
                self._nodes[index] = _Node(fault, stage)
                self._nodes[index].told = told
                for item in rest:
                    self._push(index, now, now, item, through)
        return through

    def clear(self) -> int:
        """Forget what is inside; how many bytes that was."""
        size = self.held_bytes
        for node in self._nodes:
            node.held.clear()
            node.size = 0
        return size

    def _push(self, index: int, at: float, now: float, item: Item, through: list[Item]) -> None:
        """`item` reaches the stage at `index` at the time `at`, which is not after `now`."""
        if index == len(self._nodes) or isinstance(item, Aside):
            through.append(item)
            return
        node = self._nodes[index]
        given = node.stage.feed(at, item) if isinstance(item, bytes) else node.stage.finish(at, item)
        if node.stage.struck and not node.told:
            node.told = True
            through.append(Aside(node.fault, Hit("", node.stage.struck)))
        for due, piece in given:
            self._let_go(index, due, now, piece, through)

    def _let_go(self, index: int, due: float, now: float, item: Item, through: list[Item]) -> None:
        """The stage at `index` gives `item`: on to the next one, if it is due and nothing is before it."""
        node = self._nodes[index]
        due = node.last = max(due, node.last)
        if due <= now and not node.held:
            self._push(index + 1, due, now, item, through)
        else:
            node.held.append((due, item))
            node.size += len(item) if isinstance(item, bytes) else 0

    @staticmethod
    def _pop(node: _Node) -> Timed:
        due, item = node.held.popleft()
        node.size -= len(item) if isinstance(item, bytes) else 0
        return due, item
