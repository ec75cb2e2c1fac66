"""The last good answers: an old one is often better than none, up to an age.

`StaleCache(stale_s=3600)` calls every time, and gives the last good answer when the call fails; with `fresh_s` it does
not even call while the answer is younger than that. As `Fallback(stale=...)` it is one of the ways of a fallback.
Prior art: `stale-if-error` (RFC 5861), whose example's 1,200 seconds are the default.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import checks
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.timing import TIME

Key = Callable[..., Hashable]
Answer = tuple[Any, float]
"""A good answer and its age in seconds."""


@dataclass(frozen=True, slots=True)
class StaleCache:
    """Keeps the last good answer of each of `entries` keys (1 to 1,000,000).

    On an error of `on` the answer is given while it is up to `stale_s` seconds old; and without a call while it is
    younger than `fresh_s` seconds (0: every time a call). `key` makes a key from the call's arguments, by default they
    are the key themselves and have to be hashable. Who gets an answer gets the same object as everybody else.
    """

    kind: ClassVar[str] = "stale_cache"

    stale_s: float = 1200.0
    fresh_s: float = field(default=0.0, kw_only=True)
    entries: int = field(default=1024, kw_only=True)
    key: Key | None = field(default=None, kw_only=True)
    on: tuple[type[Exception], ...] | type[Exception] = field(default=(Exception,), kw_only=True)

    def __post_init__(self) -> None:
        checks.number("StaleCache.stale_s", self.stale_s, 0.001, 604_800, "seconds")
        checks.number("StaleCache.fresh_s", self.fresh_s, 0, self.stale_s, "seconds")
        checks.whole("StaleCache.entries", self.entries, 1, 1_000_000)
        object.__setattr__(self, "on", checks.exceptions("StaleCache.on", self.on))
        if self.key is not None and not callable(self.key):
            raise ConfigurationError(f"StaleCache.key = {self.key!r}: has to be a function of the call's arguments")

    def layer(self, policy: str) -> StaleCacheLayer:
        """As `layer.Spec`."""
        return StaleCacheLayer(self, policy)


def key_of(
    policy: str, function: object, key: Key | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[object, Hashable]:
    """What makes a call the same as another: the function, and its arguments or what `key` makes of them."""
    made: Hashable = key(*args, **kwargs) if key else (args, tuple(sorted(kwargs.items()))) if kwargs else args
    try:
        hash(made)
    except TypeError as error:
        raise ConfigurationError(
            f"policy {policy!r}: {made!r:.200} is no key, since it is not hashable; give key=, a function of the "
            "call's arguments that returns a text, a number or a tuple of them"
        ) from error
    return function, made


class Answers:
    """The last good answer of each key; beyond `entries` keys those go first that were there first.

    Without a lock: each step on the dict or the deque is atomic, and two threads that put the same new key at once
    only note it twice in the order, which takes out nothing wrong.
    """

    __slots__ = ("_entries", "_kept", "_order")

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: dict[Hashable, tuple[Any, float]] = {}  # the answer and when it came
        self._order: deque[Hashable] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep `value`, which came now."""
        if key not in self._kept:
            self._order.append(key)
        self._kept[key] = (value, TIME.monotonic())
        while len(self._kept) > self._entries:
            try:
                self._kept.pop(self._order.popleft(), None)
            except IndexError:  # another thread has just taken it
                return

    def get(self, key: Hashable, age_s: float) -> Answer | None:
        """The answer of `key` and its age in seconds, if it is younger than `age_s` seconds."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        value, at = kept
        age = TIME.monotonic() - at
        return (value, age) if age < age_s else None


class StaleCacheLayer:
    """Keeps what comes, and gives it again."""

    def __init__(self, spec: StaleCache, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.answers = Answers(spec.entries)
        self._on: tuple[type[Exception], ...] = checks.exceptions("StaleCache.on", spec.on)

    def fresh(self, key: Hashable) -> Answer | None:
        """The answer that makes the call superfluous."""
        return self.answers.get(key, self.spec.fresh_s) if self.spec.fresh_s else None

    def instead(self, key: Hashable, error: Exception) -> Answer | None:
        """The answer in place of `error`."""
        answer = self.answers.get(key, self.spec.stale_s)
        if answer is not None:
            emit("policy.stale", policy=self.policy, age_s=answer[1], why=f"{type(error).__name__}: {error}")
        return answer

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        on, function = self._on, inspect.unwrap(inner)

        @wraps(inner)
        def kept(*args: Any, **kwargs: Any) -> Any:
            key = key_of(self.policy, function, self.spec.key, args, kwargs)
            answer = self.fresh(key)
            if answer is not None:
                return answer[0]
            try:
                result = inner(*args, **kwargs)
            except on as error:
                answer = self.instead(key, error)
                if answer is None:
                    raise
                return answer[0]
            self.answers.put(key, result)
            return result

        return kept

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        on, function = self._on, inspect.unwrap(inner)

        @wraps(inner)
        async def kept(*args: Any, **kwargs: Any) -> Any:
            key = key_of(self.policy, function, self.spec.key, args, kwargs)
            answer = self.fresh(key)
            if answer is not None:
                return answer[0]
            try:
                result = await inner(*args, **kwargs)
            except on as error:
                answer = self.instead(key, error)
                if answer is None:
                    raise
                return answer[0]
            self.answers.put(key, result)
            return result

        return kept
