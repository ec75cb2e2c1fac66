"""Retry alone; its logging of each retry is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backoff  # type: ignore[import-not-found]


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return backoff.on_exception(backoff.constant, ValueError, max_tries=3, interval=0, jitter=None, logger=None)


SYNC: dict[str, Callable[[], Any]] = {"retry": _retry}
ASYNC = SYNC
