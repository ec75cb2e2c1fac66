"""What is documented is run: the pages' exhibits are written, their commands typed, their output compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.docs.conftest import Pages

PAGES = ("README.md", "CONTRIBUTING.md", "docs/exhibits.md")
ROOT = Path(__file__).parents[2]
LINKED = (
    *("CHANGELOG.md", "BENCHMARKS.md", "docs/map.md", "docs/retail.md"),
    *sorted(
        str(page.relative_to(ROOT)) for part in ("durable", "observe") for page in (ROOT / "docs" / part).glob("*.md")
    ),
)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(page: str, pages: Pages) -> None:
    ran = pages.do(page)
    assert ran or page.startswith("docs/")


def test_the_page_of_the_retail_pipeline_does_what_it_says(pages: Pages) -> None:
    assert pages.do("docs/retail.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_exhibit_of_the_page_is_proven(page: str, pages: Pages) -> None:
    written = [block for block in pages.blocks(page) if block.is_exhibit]
    assert written
    for number, block in enumerate(written):
        (pages.folder / f"example_{number}.py").write_text(block.text)
    pages.output([sys.executable, "-m", "premortem", "prove", "."])


@pytest.mark.parametrize("page", [*PAGES, *LINKED])
def test_links_lead_somewhere(page: str, pages: Pages) -> None:
    assert pages.broken_links(page) == []
