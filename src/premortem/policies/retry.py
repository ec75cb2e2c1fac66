"""Try again: what failed by chance may go well the next time; what fails by nature never does.

Laws:
- Only subclasses of Exception that `on` names are retried, and never those that `never` names; cancellation,
  KeyboardInterrupt and a deadline that is over are not.
- The user's own exception comes out, unchanged, with the story of the attempts as a note.
- A wait is never longer than what is left until the ambient deadline: a sleep that would outlast it is refused.
- An error that an inner retry has already tried again is not tried again: 3 x 3 x 3 would be 27 calls. Such an error
  carries a mark; a mark from an earlier call (an exception object that is raised again and again) does not count.
"""

from __future__ import annotations

import random
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from itertools import count
from typing import Any, ClassVar, Literal

from premortem.errors import ConfigurationError
from premortem.events import emit, heard
from premortem.policies import ambient, checks, retry_after
from premortem.policies.budget import RetryBudget
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.rejections import DeadlineExceededError
from premortem.policies.timing import TIME
from premortem.policies.waits import Backoff, Fixed, Wait

_TRIED = "__premortem_attempts__"  # on an exception: (how often a retry has tried, which giving up that was)
_WORDS = 200  # characters of an error's text that an event carries


class _GivenUp:
    """How many calls have been given up in this process: tells a mark of this call from one of an earlier call."""

    __slots__ = ("_next", "so_far")

    def __init__(self) -> None:
        self.so_far = 0
        self._next = count(1).__next__  # atomic, so that no two marks are the same

    def another(self) -> int:
        self.so_far = number = self._next()
        return number


GIVEN_UP = _GivenUp()


@dataclass(frozen=True, slots=True)
class Retry:
    """Up to `attempts` calls in all, while they fail with one of `on` or give a result for which `if_result` is true.

    `wait` says how long to wait in between: `Backoff`, `Fixed`, or anything with their `seconds`. What a server asks
    for by Retry-After, at most `retry_after_cap_s` seconds (0 ignores it), comes on top, so that clients which were
    all told the same second do not come back in it. `if_result` has to be without side effects. `budget` is shared by
    handing the same one to several policies. `nested` says what to do with an error that an inner retry has given up
    on: "collapse" (give up, too) or "allow".
    """

    kind: ClassVar[str] = "retry"

    attempts: int = 3
    on: tuple[type[Exception], ...] | type[Exception] = field(kw_only=True)
    never: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    wait: Wait = field(default=Backoff(), kw_only=True)
    if_result: Callable[[Any], bool] | None = field(default=None, kw_only=True)
    budget: RetryBudget | None = field(default=None, kw_only=True)
    retry_after_cap_s: float = field(default=60.0, kw_only=True)
    nested: Literal["collapse", "allow"] = field(default="collapse", kw_only=True)

    def __post_init__(self) -> None:
        checks.whole("Retry.attempts", self.attempts, 1, 100)
        object.__setattr__(self, "on", checks.exceptions("Retry.on", self.on))
        if self.never != ():
            object.__setattr__(self, "never", checks.exceptions("Retry.never", self.never))
        if isinstance(self.wait, type) or not callable(getattr(self.wait, "seconds", None)):
            raise ConfigurationError(f"Retry.wait = {self.wait!r}: has to be a wait; write Backoff(0.1) or Fixed(1)")
        if self.if_result is not None and not callable(self.if_result):
            raise ConfigurationError(f"Retry.if_result = {self.if_result!r}: has to be a function of a result, or None")
        if self.budget is not None and not isinstance(self.budget, RetryBudget):
            raise ConfigurationError(f"Retry.budget = {self.budget!r}: has to be a RetryBudget(...), or None")
        checks.number("Retry.retry_after_cap_s", self.retry_after_cap_s, 0, 3600, "seconds")
        if self.nested not in ("collapse", "allow"):
            raise ConfigurationError(f'Retry.nested = {self.nested!r}: has to be "collapse" or "allow"')

    def layer(self, policy: str) -> RetryLayer:
        """As `layer.Spec`."""
        return RetryLayer(self, policy)


class RetryLayer:
    """Decides whether and when; the two drivers at the end only call and wait."""

    def __init__(self, spec: Retry, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.chance = random.Random()  # noqa: S311 - jitter is no secret
        self.on: tuple[type[Exception], ...] = checks.exceptions("Retry.on", spec.on)
        self.if_result = spec.if_result
        self.deposit = spec.budget.deposit if spec.budget else None
        self.story = Story
        self._unchecked_wait = not isinstance(spec.wait, Backoff | Fixed)  # of somebody else's making
        self._hopeless: tuple[type[Exception], ...] = (DeadlineExceededError, *spec.never)

    def after_error(self, story: Story, error: Exception) -> float | None:
        """Seconds to wait before the next attempt, or None to give up."""
        story.attempts += 1
        spec = self.spec
        if isinstance(error, self._hopeless):
            return None
        tried, given_up = vars(error).get(_TRIED, (0, 0))
        if tried > 1 and given_up > story.begun and spec.nested == "collapse":
            story.gave_up = "a retry inside has tried already"
            return None
        asked_s = retry_after.seconds_of(error) if spec.retry_after_cap_s else None
        return self._next(story, asked_s, error)

    def after_result(self, story: Story, result: object) -> float | None:
        """The same for a result that `if_result` does not like."""
        story.attempts += 1
        return self._next(story, None, result)

    def _next(self, story: Story, asked_s: float | None, cause: object) -> float | None:
        spec = self.spec
        if story.attempts >= spec.attempts:
            self._give_up(story, "all attempts are used")
            return None
        own_s = wait_s = spec.wait.seconds(story.attempts, story.last_wait_s, self.chance)
        if self._unchecked_wait:
            own_s = wait_s = checks.number("Retry.wait.seconds(...)", own_s, 0, 3600)
        if asked_s is not None:
            wait_s += min(asked_s, spec.retry_after_cap_s)
        left_s = ambient.remaining_s()
        if left_s is not None and wait_s >= left_s:
            self._give_up(story, f"the next attempt would come {wait_s:.3g} s from now, after the deadline")
            return None
        if spec.budget is not None and not spec.budget.withdraw():
            self._give_up(story, "the retry budget is used up")
            return None
        if heard():
            emit("policy.retry", policy=self.policy, attempt=story.attempts, wait_s=wait_s, why=_why(cause))
        story.last_wait_s = own_s
        story.waited_s += wait_s
        return wait_s

    def _give_up(self, story: Story, why: str) -> None:
        story.gave_up = why
        emit("policy.retry_exhausted", policy=self.policy, attempt=story.attempts, why=why)

    def tell(self, story: Story, error: Exception) -> None:
        """Attach the story to the error that goes out, and mark it for an outer retry.

        By way of `vars`, which every exception has: a frozen dataclass refuses both `add_note` and attributes.
        """
        carried = vars(error)
        tried, given_up = carried.get(_TRIED, (0, 0))
        inside = tried if given_up > story.begun else 0
        carried[_TRIED] = (max(story.attempts, inside), GIVEN_UP.another())
        if story.attempts > 1 or story.gave_up:
            why = f", {story.gave_up}" if story.gave_up else ""
            whose = f"premortem: policy {self.policy!r}: "
            # One note a policy: an exception object that is raised again and again must not grow.
            others = [note for note in carried.get("__notes__", ()) if not str(note).startswith(whose)]
            carried["__notes__"] = [
                *others,
                f"{whose}{story.attempts} attempt(s), {story.waited_s:.3g} s of waiting{why}",
            ]

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        on, if_result, deposit = self.on, self.if_result, self.deposit

        @wraps(inner)
        def retried(*args: Any, **kwargs: Any) -> Any:
            if deposit is not None:
                deposit()
            begun, story = GIVEN_UP.so_far, None
            while True:
                try:
                    result = inner(*args, **kwargs)
                except on as error:
                    story = story or Story(begun)
                    wait_s = self.after_error(story, error)
                    if wait_s is None:
                        self.tell(story, error)
                        raise
                else:
                    if if_result is None or not if_result(result):
                        return result
                    story = story or Story(begun)
                    wait_s = self.after_result(story, result)
                    if wait_s is None:
                        return result
                if wait_s:
                    TIME.sleep(wait_s)

        return retried

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        on, if_result, deposit = self.on, self.if_result, self.deposit

        @wraps(inner)
        async def retried(*args: Any, **kwargs: Any) -> Any:
            if deposit is not None:
                deposit()
            begun, story = GIVEN_UP.so_far, None
            while True:
                try:
                    result = await inner(*args, **kwargs)
                except on as error:
                    story = story or Story(begun)
                    wait_s = self.after_error(story, error)
                    if wait_s is None:
                        self.tell(story, error)
                        raise
                else:
                    if if_result is None or not if_result(result):
                        return result
                    story = story or Story(begun)
                    wait_s = self.after_result(story, result)
                    if wait_s is None:
                        return result
                if wait_s:
                    await TIME.sleep_async(wait_s)

        return retried


def _why(cause: object) -> str:
    """Why another attempt is made: an error, or a result that is not liked."""
    return (
        f"{type(cause).__name__}: {_text(cause)}" if isinstance(cause, Exception) else f"result {reprlib.repr(cause)}"
    )


def _text(error: Exception) -> str:
    """What `error` says, shortened; a `__str__` that fails must not take the place of `error`."""
    try:
        return str(error)[:_WORDS]
    except Exception:  # noqa: BLE001 - anything may come out of a user's __str__
        return "(its text cannot be read)"


class Story:
    """One call's attempts; made when the first one fails.

    `begun` is `GIVEN_UP.so_far` when the call began; -1 takes every mark for one of this call.
    """

    __slots__ = ("attempts", "begun", "gave_up", "last_wait_s", "waited_s")

    def __init__(self, begun: int = -1) -> None:
        self.begun = begun
        self.attempts = 0
        self.last_wait_s = 0.0
        self.waited_s = 0.0
        self.gave_up = ""
