"""The rules of a checkpoint as pure decisions: who may save, which version is next, which one is good.

The head says who has claimed, with which fence, and which version is the newest. Laws: a fence never becomes smaller;
what is written with a smaller one than the head's is refused (Kleppmann, "How to do distributed locking", 2016); a head
that is lost is made again from the documents, with a fence that nobody can have had.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from premortem.durable.errors import DamagedError, NewerSchemaError, OwnedError, StaleOwnerError
from premortem.durable.framing import digest, framed, unframed
from premortem.errors import ConfigurationError
from premortem.model.codec import Json

KIND, HEAD_KIND = "checkpoint", "head"
MOST_BYTES = 16 << 20
AFTER_LOSS = 1_000_000
"""So far above the greatest fence in the documents begin the fences after a lost head: nobody has claimed that often
since the last save."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is known without reading a document.

    `mark` is the digest of the newest document, `turn` counts claims, renewals and releases, `since_s` and `until_s`
    are seconds since 1970 (0: nobody holds it).
    """

    name: str
    version: int = 0
    fence: int = 0
    schema: int = 0
    mark: str = ""
    owner: str = ""
    since_s: float = 0.0
    until_s: float = 0.0
    turn: int = 0

    def held(self, now: datetime, *, waited_s: float = 0.0) -> bool:
        """Whether its owner's time is still running. `waited_s`: for so long this very turn has been looked at.

        A calendar that was put back cannot make a lease longer: who has waited for its length has waited enough.
        """
        return bool(self.owner) and now.timestamp() < self.until_s and waited_s < self.until_s - self.since_s

    def until(self, now: datetime) -> datetime:
        """When its owner's time is over: never further away than the lease is long."""
        return min(datetime.fromtimestamp(self.until_s, UTC), now + timedelta(seconds=self.until_s - self.since_s))


@dataclass(frozen=True, slots=True)
class Document:
    """A saved version, as it is written."""

    name: str
    version: int
    schema: int
    owner: str
    fence: int
    saved_at: str
    writer: str
    value: Json


@dataclass(frozen=True, slots=True)
class Picked:
    """What reading came to: the newest good document, and what is wrong with those above it."""

    document: Document | None
    mark: str
    flaws: tuple[tuple[int, str], ...]


def head_from(raw: bytes, name: str) -> Head:
    """What `head_bytes` wrote, or DamagedError."""
    body = unframed(HEAD_KIND, raw, f"the head of checkpoint {name!r}")
    head = Head(**json.loads(body))
    if head.name != name:
        raise DamagedError(f"the head of checkpoint {name!r}", f"it is that of {head.name!r}", "it is made anew")
    return head


def head_bytes(head: Head) -> bytes:
    """The head as it is kept."""
    return framed(HEAD_KIND, _json({field: getattr(head, field) for field in Head.__dataclass_fields__}))


def document_bytes(document: Document) -> bytes:
    """The document as it is kept. ConfigurationError for a value that JSON would change, or that is too large."""
    value, name = document.value, document.name
    try:
        body = _json({field: getattr(document, field) for field in Document.__dataclass_fields__})
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"checkpoint {name!r}: its value has to be plain JSON ({error}); convert it") from None
    if len(body) > MOST_BYTES:
        raise ConfigurationError(
            f"checkpoint {name!r}: its value takes {len(body)} bytes, and {MOST_BYTES} are the most; keep progress "
            "in it, and the data elsewhere"
        )
    if json.loads(body)["value"] != value:
        raise ConfigurationError(
            f"checkpoint {name!r}: JSON gives its value back changed (a tuple as a list, a number as a key as a text); "
            "write lists, and keys that are texts"
        )
    return framed(KIND, body)


def document_from(raw: bytes, name: str, version: int) -> Document:
    """What `document_bytes` wrote, or DamagedError."""
    where = f"checkpoint {name!r}, version {version}"
    document = Document(**json.loads(unframed(KIND, raw, where)))
    if (document.name, document.version) != (name, version):
        raise DamagedError(where, f"it is version {document.version} of {document.name!r}", "put it back in its place")
    return document


def picked(head: Head | None, documents: Iterable[tuple[int, bytes]], name: str) -> Picked:
    """The newest good one of `documents`. A version that the head knows and that is not there is a flaw, too."""
    ordered = sorted(documents, reverse=True)
    flaws = []
    if head and head.version > (ordered[0][0] if ordered else 0):
        flaws.append((head.version, "it is missing, and the head says that it was saved"))
    for version, raw in ordered:
        try:
            return Picked(document_from(raw, name, version), digest(raw), tuple(flaws))
        except DamagedError as error:
            flaws.append((version, error.why))
    return Picked(None, "", tuple(flaws))


def rebuilt(documents: Iterable[tuple[int, bytes]], name: str, *, lost: bool) -> Head:
    """The head as far as the documents know it; `lost`: there was one."""
    kept = tuple(documents)
    found = picked(None, kept, name)
    newest, good = max((version for version, _ in kept), default=0), found.document
    return Head(
        name, newest, (good.fence if good else 0) + (AFTER_LOSS if lost or kept else 0),
        good.schema if good else 0, found.mark,
    )  # fmt: skip


def admit(head: Head, *, fence: int | None, known: Iterable[str], schema: int, now: datetime) -> None:
    """Whether whoever holds `fence`, or who holds none and has seen the documents `known`, may save."""
    what = f"checkpoint {head.name!r}"
    if head.schema > schema:
        raise NewerSchemaError(
            f"{what}: was saved with schema {head.schema}, and this code writes {schema}; run the newer code"
        )
    if fence is not None:
        if fence < head.fence:
            raise StaleOwnerError(
                f"{what}: fence {fence} is older than {head.fence}, "
                f"with which {head.owner or 'somebody'} has claimed it since; stop, and claim it anew to go on"
            )
        return
    if head.held(now):
        raise OwnedError(head.name, head.owner, head.until(now))
    if head.version and head.mark not in known:
        raise StaleOwnerError(
            f"{what}: version {head.version} was saved by somebody else, or before you looked; load() it before "
            "you save, and give each worker a name of its own or let it claim()"
        )


def saved(head: Head, document: Document, raw: bytes) -> Head:
    """The head after `document` was written."""
    return replace(
        head, version=document.version, fence=max(head.fence, document.fence), schema=document.schema, mark=digest(raw)
    )


def claimed(  # noqa: PLR0913 - all that it hangs on
    head: Head, owner: str, ttl_s: float, now: datetime, *, waited_s: float, take_over: bool
) -> Head:
    """The head after `owner` has claimed it. OwnedError while another one's time is running."""
    if head.owner != owner and not take_over and head.held(now, waited_s=waited_s):
        raise OwnedError(head.name, head.owner, head.until(now))
    return renewed(replace(head, owner=owner, fence=head.fence + 1), ttl_s, now)


def renewed(head: Head, ttl_s: float, now: datetime) -> Head:
    """The head with its owner's time beginning anew."""
    since_s = now.timestamp()
    return replace(head, since_s=since_s, until_s=since_s + ttl_s, turn=head.turn + 1)


def released(head: Head) -> Head:
    """The head with nobody holding it; the fence stays."""
    return replace(head, owner="", since_s=0.0, until_s=0.0, turn=head.turn + 1)


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
