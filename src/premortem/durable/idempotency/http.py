"""The header Idempotency-Key for any web framework: a pure function from a request to an answer.

| what the key stands for                 | answer                                                    |
| --------------------------------------- | --------------------------------------------------------- |
| nothing yet                             | the handler's                                             |
| this request, answered before           | the same answer, with `Idempotent-Replayed: true`         |
| this request, being worked on           | 409, with Retry-After                                     |
| another request                         | 422                                                       |
| this request, and nobody knows          | 500: the operator has to settle it                        |
| (no key where one is required, or none that is one) | 400                                           |
| (the store is down)                     | 503, with Retry-After                                     |

As draft-ietf-httpapi-idempotency-key-header-07 has it; errors are application/problem+json (RFC 9457).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from premortem.durable.errors import (
    InFlightError,
    NothingDoneError,
    NotKeptError,
    PayloadMismatchError,
    StoreDownError,
    UnknownOutcomeError,
)
from premortem.durable.idempotency import Idempotency, Outcome
from premortem.errors import ConfigurationError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_NOT_KEPT = frozenset({408, 409, 421, 423, 425, 429})
_MOST_KEY = 255
_RETRY_S = 1
_LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Request:
    """`key` is the header's value as it came, None where there is none; `caller` is who is logged in.

    Keys belong to their caller: two callers may use the same one.
    """

    method: str
    target: str
    body: bytes
    key: str | None
    caller: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back. Name in `headers` what a repetition has to have, too."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Answer]
AsyncHandler = Callable[[Request], Awaitable[Answer]]


class _NotForKeepsError(NothingDoneError):
    """Rolls back what an answer that is not kept may have done."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def answered(idempotency: Idempotency, request: Request, handle: Handler, *, required: bool = True) -> Answer:
    """The handler's answer, or the one that it gave before, or why there is none.

    Methods that change nothing go to the handler at once, and so do requests without a key where none is `required`.
    An answer of 500 and above, or one that says "later" (429 and the like), is not kept: the handler promises that
    nothing was done, and the next attempt runs. `idempotency` has to have the default `results`.
    """
    if _passes(request, required=required):
        return handle(request)
    try:
        key = _key(request)
        return _sent(idempotency.outcome(key, _compared(request), lambda _: _kept(handle(request))))
    except _NotForKeepsError as error:
        return error.answer
    except _TOLD as error:
        return _problem(error)


async def answered_async(
    idempotency: Idempotency, request: Request, handle: AsyncHandler, *, required: bool = True
) -> Answer:
    """As `answered`, for a coroutine function."""
    if _passes(request, required=required):
        return await handle(request)

    async def kept(_: object) -> dict[str, object]:
        return _kept(await handle(request))

    try:
        return _sent(await idempotency.outcome_async(_key(request), _compared(request), kept))
    except _NotForKeepsError as error:
        return error.answer
    except _TOLD as error:
        return _problem(error)


class _BadKeyError(ConfigurationError):
    """The client's key is missing, or is none."""


_TOLD = (
    _BadKeyError, InFlightError, PayloadMismatchError, UnknownOutcomeError, NotKeptError, StoreDownError,
)  # fmt: skip


def _passes(request: Request, *, required: bool) -> bool:
    return request.method.upper() in SAFE_METHODS or (request.key is None and not required)


def _key(request: Request) -> str:
    """The key within the caller's own; the draft has it in quotes, most clients do not."""
    bare = (request.key or "").strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        bare = bare[1:-1]
    if not bare:
        raise _BadKeyError(
            "the header Idempotency-Key is missing; send a new one, such as a UUID, with each new request"
        )
    if len(bare) > _MOST_KEY or not bare.isascii() or not bare.isprintable():
        raise _BadKeyError(f"the header Idempotency-Key has to be 1 to {_MOST_KEY} printable characters; send a UUID")
    return f"{request.caller}/{bare}" if request.caller else bare


def _compared(request: Request) -> list[object]:
    return [request.method.upper(), request.target, request.body]


def _kept(answer: Answer) -> dict[str, object]:
    if answer.status >= 500 or answer.status in _NOT_KEPT:  # noqa: PLR2004 - server errors
        raise _NotForKeepsError(answer)
    body = base64.b64encode(answer.body).decode()
    return {"status": answer.status, "headers": [list(pair) for pair in answer.headers], "body": body}


def _sent(outcome: Outcome[dict[str, object]]) -> Answer:
    kept = outcome.value
    headers = tuple((str(name), str(value)) for name, value in kept["headers"])  # type: ignore[attr-defined]
    if outcome.replayed:
        headers += (("Idempotent-Replayed", "true"),)
    return Answer(int(str(kept["status"])), base64.b64decode(str(kept["body"])), headers)


def _problem(error: Exception) -> Answer:
    """What the client has to know, without the names of our machines."""
    status, title, retry_s = {
        _BadKeyError: (400, str(error), 0),
        PayloadMismatchError: (422, "this Idempotency-Key was used before with another request; take a new one", 0),
        InFlightError: (409, "a request with this Idempotency-Key is being worked on; ask again with the same key", 0),
        StoreDownError: (503, "this cannot be done right now; ask again with the same Idempotency-Key", _RETRY_S),
    }.get(type(error), (500, "nobody knows whether this request was carried out; it is not run again by itself", 0))
    if isinstance(error, InFlightError):
        left_s = (error.until - datetime.now(UTC)).total_seconds() if error.until else _RETRY_S
        retry_s = min(max(_RETRY_S, math.ceil(left_s / 10)), _LONGEST_RETRY_S)
    body = json.dumps({"type": "about:blank", "title": title, "status": status}).encode()
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/problem+json"),)
    return Answer(status, body, headers + ((("Retry-After", str(retry_s)),) if retry_s else ()))
