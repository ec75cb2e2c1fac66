"""A way in which a system can fail: the story of it, and the two variants that tell it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailureMode:
    """One exhibit, as far as it can be read without running it.

    `slug` is the file's name with dashes, `gallery` its folder's; `needs` names the servers it asks for.
    `broken` and `fixed` are the sources of the two variants: the diff between them is the lesson.
    `flaw` says in words what the file lacks to be an exhibit; empty when nothing is missing. `digest` is of the whole
    file: what one version of it has shown says nothing of another.
    """

    gallery: str
    slug: str
    path: str
    title: str = ""
    cause: str = ""
    effect: str = ""
    fix: str = ""
    prevention: str = ""
    needs: tuple[str, ...] = ()
    broken: str = ""
    fixed: str = ""
    flaw: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The full name, unique within a run: `ingest/missing-file`."""
        return f"{self.gallery}/{self.slug}"
