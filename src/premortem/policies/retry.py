"""Try again: what failed by chance may go well the next time; what fails by nature never does.

Laws:
- Only subclasses of Exception that `on` names are retried, and never those that `never` names; cancellation,
  KeyboardInterrupt and a deadline that is over are not.
- The user's own exception comes out, unchanged, with the story of the attempts as a note.
- A wait is never longer than what is left until the ambient deadline: a sleep that would outlast it is refused.
- An error that an inner retry has already tried again is not tried again: 3 x 3 x 3 would be 27 calls.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, Literal

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import ambient, checks, retry_after
from premortem.policies.budget import RetryBudget
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.rejections import DeadlineExceededError
from premortem.policies.timing import TIME
from premortem.policies.waits import Backoff, Wait

_TRIED = "__premortem_attempts__"  # on an exception: how often an inner retry has tried


@dataclass(frozen=True, slots=True)
class Retry:
    """Up to `attempts` calls in all, while they fail with one of `on` or give a result for which `if_result` is true.

    `wait` says how long to wait in between, seconds; `retry_after_cap_s` bounds what a server may ask for by
    Retry-After (0 ignores it). `budget` is shared by handing the same one to several policies. `nested` says what to
    do with an error that an inner retry has given up on: "collapse" (give up, too) or "allow".
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
        if self.never:
            object.__setattr__(self, "never", checks.exceptions("Retry.never", self.never))
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

    def after_error(self, story: Story, error: Exception) -> float | None:
        """Seconds to wait before the next attempt, or None to give up."""
        story.attempts += 1
        spec = self.spec
        tried = getattr(error, _TRIED, 0)
        if isinstance(error, (DeadlineExceededError, *spec.never)) or (tried > 1 and spec.nested == "collapse"):
            return None
        asked_s = retry_after.seconds_of(error) if spec.retry_after_cap_s else None
        return self._next(story, asked_s, f"{type(error).__name__}: {error}")

    def after_result(self, story: Story, result: object) -> float | None:
        """The same for a result that `if_result` does not like."""
        story.attempts += 1
        return self._next(story, None, f"result {result!r:.80}")

    def _next(self, story: Story, asked_s: float | None, why: str) -> float | None:
        spec = self.spec
        if story.attempts >= spec.attempts:
            self._give_up(story, "all attempts are used")
            return None
        wait_s = spec.wait.seconds(story.attempts, story.last_wait_s, self.chance)
        if asked_s is not None:
            wait_s = max(wait_s, min(asked_s, spec.retry_after_cap_s))
        left_s = ambient.remaining_s()
        if left_s is not None and wait_s >= left_s:
            self._give_up(story, f"the next attempt would come {wait_s:.3g} s from now, after the deadline")
            return None
        if spec.budget is not None and not spec.budget.withdraw():
            self._give_up(story, "the retry budget is used up")
            return None
        emit("policy.retry", policy=self.policy, attempt=story.attempts, wait_s=wait_s, why=why)
        story.last_wait_s = wait_s
        story.waited_s += wait_s
        return wait_s

    def _give_up(self, story: Story, why: str) -> None:
        story.gave_up = why
        emit("policy.retry_exhausted", policy=self.policy, attempt=story.attempts, why=why)

    def tell(self, story: Story, error: Exception) -> None:
        """Attach the story to the error that goes out, and mark it for an outer retry."""
        if story.attempts > 1 or story.gave_up:
            why = f", {story.gave_up}" if story.gave_up else ""
            told = f"{story.attempts} attempt(s), {story.waited_s:.3g} s of waiting{why}"
            error.add_note(f"premortem: policy {self.policy!r}: {told}")
        try:
            setattr(error, _TRIED, max(story.attempts, getattr(error, _TRIED, 0)))
        except AttributeError:  # a class with slots takes no mark; then an outer retry cannot know
            return

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        on, if_result, deposit = self.on, self.if_result, self.deposit

        @wraps(inner)
        def retried(*args: Any, **kwargs: Any) -> Any:
            if deposit is not None:
                deposit()
            story = None
            while True:
                try:
                    result = inner(*args, **kwargs)
                except on as error:
                    story = story or Story()
                    wait_s = self.after_error(story, error)
                    if wait_s is None:
                        self.tell(story, error)
                        raise
                else:
                    if if_result is None or not if_result(result):
                        return result
                    story = story or Story()
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
            story = None
            while True:
                try:
                    result = await inner(*args, **kwargs)
                except on as error:
                    story = story or Story()
                    wait_s = self.after_error(story, error)
                    if wait_s is None:
                        self.tell(story, error)
                        raise
                else:
                    if if_result is None or not if_result(result):
                        return result
                    story = story or Story()
                    wait_s = self.after_result(story, result)
                    if wait_s is None:
                        return result
                if wait_s:
                    await TIME.sleep_async(wait_s)

        return retried


class Story:
    """One call's attempts; made when the first one fails."""

    __slots__ = ("attempts", "gave_up", "last_wait_s", "waited_s")

    def __init__(self) -> None:
        self.attempts = 0
        self.last_wait_s = 0.0
        self.waited_s = 0.0
        self.gave_up = ""
