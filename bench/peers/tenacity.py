"""Retry alone; `reraise=True`, so that the user's own exception comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tenacity  # type: ignore[import-not-found]


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        retry=tenacity.retry_if_exception_type(ValueError),
        wait=tenacity.wait_none(),
        reraise=True,
    )


SYNC: dict[str, Callable[[], Any]] = {"retry": _retry}
ASYNC = SYNC
