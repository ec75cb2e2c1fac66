"""The course: its pages do what they say, its tables say what the exhibits did, its exercises have solutions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from premortem.errors import MissingRequirementError
from premortem.experiment.postgres import Database
from premortem.model import Proof, journal
from premortem.servers import Servers

if TYPE_CHECKING:
    from tests.docs.conftest import Pages

FOLDER = Path(__file__).parents[2] / "docs" / "course"
CHAPTERS = sorted(page.stem for page in FOLDER.glob("*.md") if page.stem != "index")
EACH = pytest.mark.parametrize("chapter", CHAPTERS)
EXHIBITS = Path(__file__).parents[2] / "src" / "premortem" / "museum" / "exhibits"
PARTS = (
    "## The failures, and what they teach",
    "## Expected, actual, correct",
    "## Troubleshooting, by what you see",
    "## Common patterns",
    "## The theory",
    "## Exercises",
    "## Solutions",
)
_SIDES = re.compile(r"^\| \[([\w-]+)\] \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def database() -> Iterator[Callable[[str], Database]]:
    with Servers() as servers:
        try:
            url = servers.postgres().admin_url
        except MissingRequirementError as missing:
            pytest.skip(str(missing))
        yield partial(Database.create, url)


@EACH
def test_the_chapter_has_all_its_parts(chapter: str) -> None:
    text = (FOLDER / f"{chapter}.md").read_text()
    assert re.findall(r"^## .+$", text, re.MULTILINE) == list(PARTS)


@EACH
def test_every_exhibit_of_the_gallery_stands_in_both_tables(chapter: str) -> None:
    text = (FOLDER / f"{chapter}.md").read_text()
    cases, sides = (part.split("\n## ")[0] for part in text.split("\n## ")[1:3])
    for file in sorted((EXHIBITS / chapter).glob("[a-z]*.py")):
        slug = file.stem.replace("_", "-")
        assert f"| [{slug}] |" in cases
        assert f"| [{slug}] |" in sides
        assert f"\n[{slug}]: ../../src/premortem/museum/exhibits/{chapter}/{file.name}\n" in text


@EACH
def test_the_chapter_does_what_it_says_and_its_table_says_what_the_exhibits_did(chapter: str, pages: Pages) -> None:
    assert pages.do(f"docs/course/{chapter}.md") >= 5
    proofs = {proof.mode.slug: proof for proof in _proofs(pages.folder)}
    rows = _SIDES.findall((FOLDER / f"{chapter}.md").read_text().split("\n## ")[2])
    assert rows
    for slug, expected, actual, correct in rows:
        proof = proofs[slug]
        seen = "\n".join(moment.detail for moment in proof.fixed.timeline)
        assert _missing(expected, str(proof.prediction)) == [], slug
        assert _missing(actual, str(proof.broken.failure)) == [], slug
        assert _missing(correct, seen) == [], f"{slug}: {seen}"


@EACH
def test_an_exercise_fails_until_it_is_solved(chapter: str, pages: Pages) -> None:
    page = f"docs/course/{chapter}.md"
    exercises = [block.file for block in pages.blocks(page) if block.is_exhibit]
    assert len(exercises) >= 2
    assert exercises == [block.file for block in pages.blocks(page) if block.is_solution]
    for file in exercises:  # what they print is compared where the page is read
        typed = [command for command in pages.commands(page) if command.line == f"premortem prove {file}"]
        assert [(command.said[0], command.code) for command in typed] == [("GUARD_FAILED", 1), ("PROVEN", 0)]


@EACH
def test_the_statements_run_and_find_what_the_page_says(
    chapter: str, database: Callable[[str], Database], pages: Pages
) -> None:
    db = database(f"course_{chapter}")
    for block in pages.blocks(f"docs/course/{chapter}.md"):
        if block.kind == "sql":
            with psycopg.connect(db.url) as connection:
                cursor = connection.execute(block.text)
                while cursor.nextset():
                    pass
                rows = cursor.fetchall() if cursor.description else []
            said = [line.removeprefix("-- => ") for line in block.text.splitlines() if line.startswith("-- => ")]
            assert [" | ".join(map(str, row)) for row in rows] == said


@pytest.mark.parametrize("page", ["index", *CHAPTERS])
def test_links_lead_somewhere(page: str, pages: Pages) -> None:
    assert pages.broken_links(f"docs/course/{page}.md") == []
    text = re.sub(r"^```.*?^```$|`[^`\n]+`", "", (FOLDER / f"{page}.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"^\[([\w-]+)\]: ", text, re.MULTILINE))
    linked = set(re.findall(r"\[([\w-]+)\](?![(:])", text))
    assert linked == named


def test_the_index_does_what_it_says_and_leads_to_every_chapter(pages: Pages) -> None:
    pages.do("docs/course/index.md")
    text = (FOLDER / "index.md").read_text()
    assert [chapter for chapter in CHAPTERS if f"]({chapter}.md)" not in text] == []


def _proofs(folder: Path) -> Iterator[Proof]:
    for record in sorted((folder / ".premortem" / "runs").glob("*/journal.jsonl")):
        yield from journal.read(record).proofs


def _missing(cell: str, text: str) -> list[str]:
    """What a cell of the table says, in pieces between "...", and the text does not."""
    pieces = [piece.strip() for piece in cell.replace("`", "").replace("\\|", "|").split("...")]
    flat = " ".join(text.split())
    return [piece for piece in pieces if piece not in flat]
