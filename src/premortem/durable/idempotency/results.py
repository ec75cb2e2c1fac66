"""How a result becomes bytes that are kept, and a result again."""

from __future__ import annotations

import json
from typing import Any, Protocol

from premortem.errors import ConfigurationError


class Results(Protocol):
    """Both ways: `loads(dumps(result))` is what every caller gets."""

    def dumps(self, value: Any, /) -> bytes:  # noqa: ANN401 - whatever the function returns
        """The bytes to keep."""
        ...

    def loads(self, raw: bytes, /) -> Any:  # noqa: ANN401 - as above
        """What was kept."""
        ...


class JsonResults:
    """None, booleans, numbers, texts, lists and mappings with texts as keys."""

    def dumps(self, value: Any) -> bytes:  # noqa: ANN401 - as above
        """As `Results.dumps`."""
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, raw: bytes) -> Any:  # noqa: ANN401 - as above
        """As `Results.loads`."""
        return json.loads(raw)


JSON = JsonResults()


def packed(results: Results, value: object, most_bytes: int) -> bytes:
    """The bytes; ConfigurationError where there are none, or too many."""
    try:
        raw = results.dumps(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the result, a {type(value).__name__}, cannot be kept: {error}; return what JSON holds, or pass results="
        ) from error
    if len(raw) > most_bytes:
        raise ConfigurationError(
            f"the result has {len(raw)} bytes, and most_bytes is {most_bytes}; keep it elsewhere and return its name"
        )
    return raw
