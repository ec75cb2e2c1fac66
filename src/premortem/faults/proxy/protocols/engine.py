"""One direction is walked message by message: passed on, held until it can be judged, swallowed, altered, cut.

Laws: without a strike the bytes that go out are the bytes that came in, in both directions, however they are cut; what
cannot be read is passed on untouched from then on; no more than LIMIT_BYTES are ever held back undecided. A protocol
says where a message begins and ends (a `Reader`) and what becomes of it (a `Fate`); everything else is here, once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from premortem.faults.proxy.protocols import Action, Cut, Direction, Pass, Reply, Wait
from premortem.faults.proxy.protocols.effects import Delay
from premortem.faults.proxy.protocols.tally import E, Strike, Tally

LIMIT_BYTES = 1 << 16
"""What is larger is judged by its beginning and streamed."""

M = TypeVar("M")


class UnreadableError(ValueError):
    """These bytes are not this protocol; the engine then passes everything on."""


class Reader(Generic[M]):
    """Finds the messages of one direction. `inside`: in the middle of one, whose rest `through` finds."""

    __slots__ = ("inside",)

    def __init__(self) -> None:
        self.inside = False

    def skip(self, data: bytes, at: int) -> int:  # noqa: ARG002 - for readers that can tell a dull message by its first bytes
        """Go past messages that concern nobody."""
        return at

    @abstractmethod
    def head(self, data: bytes, at: int) -> M | None:
        """The message that begins at `at`, entered; None if more bytes are needed to tell."""

    @abstractmethod
    def through(self, data: bytes, at: int) -> int:
        """How far the message that we are in goes; leaves it at its end."""


class Alteration(Protocol):
    """Makes other bytes of a message's."""

    def feed(self, data: bytes) -> list[Action]:
        """The next piece of it."""
        ...

    def end(self) -> list[Action]:
        """That was all of it."""
        ...


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one message: `first` takes place before it, `then` when all of it has come."""

    first: tuple[Action, ...] = ()
    swallow: bool = False
    alter: Alteration | None = None
    then: Callable[[], list[Action]] | None = None


class _Lane(Generic[M]):
    """One direction of one connection."""

    __slots__ = ("alter", "direction", "held", "kept", "reader", "swallow", "then")

    def __init__(self, direction: Direction, reader: Reader[M]) -> None:
        self.direction: Direction = direction
        self.reader = reader
        self.held = b""
        self.kept = 0  # where the bytes begin that were read and not yet passed on
        self.swallow = False
        self.alter: Alteration | None = None
        self.then: Callable[[], list[Action]] | None = None


class Engine(Generic[M, E]):
    """A conversation, but for the protocol: subclasses judge."""

    def __init__(self, tally: Tally[E], up: Reader[M], down: Reader[M]) -> None:
        self.tally = tally
        self._lanes: dict[Direction, _Lane[M]] = {"up": _Lane("up", up), "down": _Lane("down", down)}
        self._raw = self._over = False

    @abstractmethod
    def judge(self, direction: Direction, message: M, told: list[Action]) -> Fate | None:
        """What becomes of it; None: it goes on."""

    def feed(self, direction: Direction, data: bytes) -> list[Action]:
        """Bytes came, cut anywhere."""
        if self._over:
            return []
        if self._raw:
            return [Pass(data)]
        lane = self._lanes[direction]
        if lane.held:
            data, lane.held = lane.held + data, b""
        lane.kept = 0
        out: list[Action] = []
        try:
            self._walk(lane, data, out)
        except UnreadableError:
            self._raw = True
            out += self.tally.unreadable(direction)
        if self._raw and not self._over:
            self._hand_over(lane, data, out)
        return out

    def end(self, direction: Direction) -> list[Action]:
        """This side has said all: what is held back for want of the rest goes on as it is."""
        lane = self._lanes[direction]
        if self._over or self._raw:
            return []
        out: list[Action] = []
        if lane.alter is not None:
            out += lane.alter.end()
            lane.alter = None
            self._over = _cuts(out)
        if lane.held and not lane.swallow and not self._over:
            out.append(Pass(lane.held))
        lane.held = b""
        return out

    def become_raw(self) -> None:
        """This message is the last that is read: what follows is another protocol."""
        self._raw = True

    def _walk(self, lane: _Lane[M], data: bytes, out: list[Action]) -> None:
        at, size, reader = 0, len(data), lane.reader
        while at < size:
            if not reader.inside:
                at = reader.skip(data, at)
                if at == size:
                    break
                message = reader.head(data, at)
                if message is None:
                    if size - at > LIMIT_BYTES:
                        raise UnreadableError
                    break
                fate = self.judge(lane.direction, message, out)
                if fate is not None:
                    self._enter(lane, fate, data[lane.kept : at], out)
                    lane.kept = at
                if self._over or self._raw:
                    return
            at = self._proceed(lane, data, at, out)
            if self._over:
                return
        _pass(data[lane.kept : at], out)
        lane.held, lane.kept = data[at:], size

    def _enter(self, lane: _Lane[M], fate: Fate, before: bytes, out: list[Action]) -> None:
        _pass(before, out)
        out += fate.first
        lane.swallow, lane.alter, lane.then = fate.swallow, fate.alter, fate.then
        self._over = _cuts(out)

    def _proceed(self, lane: _Lane[M], data: bytes, at: int, out: list[Action]) -> int:
        end = lane.reader.through(data, at)
        if lane.alter is not None:
            out += lane.alter.feed(data[at:end])
            lane.kept = end
            self._over = _cuts(out)
        elif lane.swallow:
            lane.kept = end
        if not (lane.reader.inside or self._over) and (lane.swallow or lane.alter or lane.then):
            self._leave(lane, data[lane.kept : end], out)
            lane.kept = end
        return end

    def _leave(self, lane: _Lane[M], rest: bytes, out: list[Action]) -> None:
        alter, then = lane.alter, lane.then
        lane.swallow, lane.alter, lane.then = False, None, None
        _pass(rest, out)
        out += (alter.end() if alter else []) + (then() if then else [])
        self._over = _cuts(out)

    def _hand_over(self, lane: _Lane[M], data: bytes, out: list[Action]) -> None:
        """From now on nothing is read: what either direction still holds goes on."""
        _pass(data[lane.kept :], out)
        other = self._lanes["down" if lane.direction == "up" else "up"]
        if other.held:
            out.append(Reply(other.held))
            other.held = b""

    def pause(self, strike: Strike[E], delay: Delay) -> tuple[Action, ...]:
        """A strike that only waits."""
        return (strike.hit(), Wait(self.tally.seconds(delay)))


def _cuts(actions: list[Action]) -> bool:
    return bool(actions) and isinstance(actions[-1], Cut)


def _pass(data: bytes, out: list[Action]) -> None:
    if data:
        out.append(Pass(data))
