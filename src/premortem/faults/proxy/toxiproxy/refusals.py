"""How a request is refused: Toxiproxy's own error texts and status codes, with the reason behind them.

Its clients decide by the status code which exception they raise, and show the text.
"""

from __future__ import annotations

from http import HTTPStatus

from premortem.errors import ConfigurationError


class Refused(ConfigurationError):  # noqa: N818 - reads as a sentence where it is raised
    """The caller must act: `error` is Toxiproxy's own text, `detail` what it leaves out, `status` is HTTP's."""

    def __init__(self, error: str, status: int = HTTPStatus.BAD_REQUEST, *, detail: str = "") -> None:
        super().__init__(f"{error}: {detail}" if detail else error)
        self.error = error
        self.detail = detail
        self.status = int(status)


def bad_body(why: str) -> Refused:
    """The body, or a file that holds the same, is not what it has to be."""
    return Refused(f"bad request body: {why}")


def missing(field: str) -> Refused:
    """A field without which there is nothing to do."""
    return Refused(f"missing required field: {field}")


def no_such_type(told: str, known: str) -> Refused:
    """No toxic of this type."""
    return Refused("invalid toxic type", detail=f"{told!r} has to be one of {known}")


def no_such_stream(told: str) -> Refused:
    """No direction of this name."""
    error = "stream was invalid, can be either upstream or downstream"
    return Refused(error, detail=f"it is {told!r}; `both` is allowed here, too")


def no_proxy(name: str) -> Refused:
    """No proxy of this name."""
    return Refused("proxy not found", HTTPStatus.NOT_FOUND, detail=repr(name))


def no_toxic(name: str) -> Refused:
    """No toxic of this name on that proxy."""
    return Refused("toxic not found", HTTPStatus.NOT_FOUND, detail=repr(name))


def proxy_exists(name: str) -> Refused:
    """A second proxy of this name."""
    return Refused("proxy already exists", HTTPStatus.CONFLICT, detail=repr(name))


def toxic_exists(name: str) -> Refused:
    """A second toxic of this name on one proxy."""
    return Refused("toxic already exists", HTTPStatus.CONFLICT, detail=repr(name))
