"""What can be wrong with an HTTP answer: status, HTML for JSON, cut short, dripping, mislabelled, a field renamed."""

from __future__ import annotations

import http
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols import Hit, Pass
from premortem.faults.proxy.protocols.effects import Delay, End, common_effect
from premortem.faults.proxy.protocols.engine import Alteration
from premortem.faults.proxy.protocols.http1_alterations import COLLECT_BYTES, Dripping, Relabelled, Renamed, Truncated
from premortem.faults.proxy.protocols.http1_messages import NO_BODY, Body, Head, with_fields

_STATUS = re.compile(r"status\s+([2-5][0-9][0-9])(?:\s+(.*))?", re.DOTALL)
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*:\s*([^\r\n]*)")
_NEXT_FIELD = re.compile(r";\s*(?=[A-Za-z0-9-]+\s*:)")
_DRIP = re.compile(r"drip\s+([1-9][0-9]{0,8})/([0-9]{1,3}(?:\.[0-9]+)?)")
_CODINGS = frozenset(("gzip", "deflate", "br", "zstd", "compress"))
_TOKEN = re.compile(r"[A-Za-z0-9._-]+")
_PAGE = "<!DOCTYPE html>\n<html><head><title>Sorry</title></head><body><h1>Please try again later</h1></body></html>\n"
WRITE: Final = (
    "cut, close, delay SECONDS, status N [NAME: VALUE; ...; body: TEXT], html, truncate [BYTES], content-type TYPE, "
    "encoding CODING or CHARSET, header NAME: VALUE, drip BYTES/SECONDS or rename OLD NEW"
)


@dataclass(frozen=True, slots=True)
class MadeUp:
    """An answer that the server never gave."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def words(self) -> str:
        """How a hit is told."""
        return f"the answer was made up: {self.status} {_reason(self.status)}"

    def response(self, method: str, *, close: bool = False) -> bytes:
        """As it goes over the wire in answer to `method`."""
        body = b"" if self.status in NO_BODY else self.body.encode()
        fields = {"Content-Type": "text/plain; charset=utf-8", **dict(self.headers)}
        if self.status not in NO_BODY:
            fields["Content-Length"] = str(len(body))
        if close:
            fields["Connection"] = "close"
        head = with_fields(f"HTTP/1.1 {self.status} {_reason(self.status)}\r\n\r\n".encode(), fields)
        return head if method == "HEAD" else head + body


@dataclass(frozen=True, slots=True)
class Labelled:
    """A header that is set, whatever the body is; `charset`: only that part of the content type."""

    name: str
    value: str
    charset: bool = False

    @property
    def words(self) -> str:
        """How a hit is told."""
        return f"the answer said {self.name}: {'charset=' if self.charset else ''}{self.value}"

    def alter(self, head: Head, hit: Hit) -> Alteration | None:
        """The head says something else, the body stays."""
        value = self.value
        if self.charset:
            kind = head.fields.get("content-type", "text/plain").split(";")[0].strip()
            value = f"{kind}; charset={value}"
        return Relabelled(head.size, [Pass(with_fields(head.raw, {self.name: value})), hit])


@dataclass(frozen=True, slots=True)
class Truncate:
    """The connection is closed after `keep` bytes of the body, or after half of it."""

    keep: int | None

    @property
    def words(self) -> str:
        """How a hit is told."""
        return "the body was cut short and the connection closed"

    def alter(self, head: Head, hit: Hit) -> Alteration | None:
        """None if the body is too short to be cut."""
        if head.body is Body.NONE or (head.body is Body.LENGTH and head.length <= (self.keep or 0)):
            return None
        keep = head.length // 2 if self.keep is None and head.body is Body.LENGTH else self.keep
        return Truncated(head.size, keep, hit)


@dataclass(frozen=True, slots=True)
class Drip:
    """The body comes in pieces of `size` bytes, `pause_s` seconds apart."""

    size: int
    pause_s: float

    @property
    def words(self) -> str:
        """How a hit is told."""
        return f"the body dripped, {self.size} bytes every {self.pause_s:g} s"

    def alter(self, head: Head, hit: Hit) -> Alteration | None:
        """None if there is no body."""
        return None if head.body is Body.NONE else Dripping(head.size, self.size, self.pause_s, hit)


@dataclass(frozen=True, slots=True)
class Rename:
    """A field of a JSON body has another name."""

    old: str
    new: str

    @property
    def words(self) -> str:
        """How a hit is told."""
        return f"the field {self.old!r} was renamed to {self.new!r}"

    def alter(self, head: Head, hit: Hit) -> Alteration | None:
        """None if there is no body, or a longer one than is ever held in memory."""
        return None if head.body is Body.NONE or head.length > COLLECT_BYTES else Renamed(head, self.old, self.new, hit)


Altering = Labelled | Truncate | Drip | Rename
Effect = End | Delay | MadeUp | Altering


def read_effect(text: str, options: Mapping[str, str]) -> Effect:
    """Read what stands after the `=`, with the options for answers that are made up."""
    effect = common_effect(text) or _made_up(text, options) or _altering(text)
    if effect is None:
        raise ConfigurationError(f"{text!r}: is no effect on HTTP; write {WRITE}")
    if options and not isinstance(effect, MadeUp):
        raise ConfigurationError(
            f"{', '.join(options)}: options are headers and body of an answer that is made up, and {text or 'cut'!r} "
            "makes up none; write =status 503, or leave them out"
        )
    return effect


def with_options(text: str, options: Mapping[str, str]) -> str:
    """The effect in one line that needs no options."""
    fields = [f"{name.replace('_', '-')}: {value}" for name, value in options.items() if name != "body"]
    parts = [*fields, *(f"body: {options[name]}" for name in options if name == "body")]
    if not parts:
        return text
    return f"{text}{'; ' if ':' in text else ' '}{'; '.join(parts)}"


def _made_up(text: str, options: Mapping[str, str]) -> MadeUp | None:
    full = with_options(text, options)
    word, _, rest = full.partition(" ")
    if word == "html":
        status, default, kind = 200, _PAGE, "text/html; charset=utf-8"
    elif (form := _STATUS.fullmatch(full)) is not None:
        status, rest = int(form[1]), form[2] or ""
        default, kind = f"{status} {_reason(status)}\n", "text/plain; charset=utf-8"
    else:
        return None
    head, marker, body = _before_body(rest.strip())
    headers = [("Content-Type", kind)]
    for field in _NEXT_FIELD.split(head) if head else ():
        named = _HEADER.fullmatch(field.strip().rstrip(";").strip())
        if named is None:
            raise ConfigurationError(f"{text!r}: {field!r} is no header; write status 503 Retry-After: 2")
        headers = [
            *((name, value) for name, value in headers if name.lower() != named[1].lower()),
            (named[1], named[2]),
        ]
    return MadeUp(status, tuple(headers), body if marker else default)


def _before_body(rest: str) -> tuple[str, str, str]:
    """What comes before `body:`, which takes all the rest."""
    if rest.startswith("body:"):
        return "", "body:", rest.removeprefix("body:").lstrip()
    head, marker, body = rest.partition("; body:")
    return head, marker, body.lstrip()


def _altering(text: str) -> Altering | None:
    word, _, rest = text.partition(" ")
    rest = rest.strip()
    if word == "truncate" and (not rest or rest.isdecimal()):
        return Truncate(int(rest) if rest else None)
    if word == "encoding" and _TOKEN.fullmatch(rest):
        coding = rest.lower() in _CODINGS
        return Labelled("Content-Encoding", rest) if coding else Labelled("Content-Type", rest, charset=True)
    if word in {"content-type", "header"}:
        field = _HEADER.fullmatch(rest if word == "header" else f"Content-Type: {rest}")
        return Labelled(field[1], field[2]) if field and field[2] else None
    if word == "rename" and len(names := rest.split()) == 2:  # noqa: PLR2004 - the old name and the new one
        return Rename(*names)
    drip = _DRIP.fullmatch(text)
    return Drip(int(drip[1]), float(drip[2])) if drip else None


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Made Up"
