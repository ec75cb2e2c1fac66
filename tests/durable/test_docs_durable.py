"""The pages about durable state: every block of Python is a complete script, and runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "durable"
PAGES = sorted(FOLDER.glob("*.md"))
WRITTEN_BY_A_PROGRAM = {"outbox-benchmarks.md"}
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block[1], id=f"{page.name}:{page.read_text()[: block.start()].count(chr(10)) + 1}")
    for page in PAGES
    for block in _BLOCK.finditer(page.read_text())
]


@pytest.mark.parametrize("script", BLOCKS)
def test_a_page_s_code_runs(script: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, timeout=60, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in WRITTEN_BY_A_PROGRAM], ids=lambda page: page.name
)
def test_every_page_has_code_that_asserts(page: Path) -> None:
    assert any("assert " in block for block in _BLOCK.findall(page.read_text())), f"{page.name} shows nothing that runs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for file, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
        target = page.parent / file if file else page
        assert target.exists(), file
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert not heading or heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
