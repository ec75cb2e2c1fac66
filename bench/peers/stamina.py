"""Retry alone (tenacity inside); its logging of each retry is off, its limit of the total time (`timeout`) too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import stamina  # type: ignore[import-not-found]
import stamina.instrumentation  # type: ignore[import-not-found]

stamina.instrumentation.set_on_retry_hooks([])


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return stamina.retry(on=ValueError, attempts=3, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0)


SYNC: dict[str, Callable[[], Any]] = {"retry": _retry}
ASYNC = SYNC
