"""The pages about faults: every block of Python is a complete script, or a test, and runs; links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "faults"
TESTED_ELSEWHERE = {"sweep.md", "system-calls.md", "adding-a-fault.md"}  # with tests of their own
PAGES = sorted(FOLDER.glob("*.md"))
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block[1], id=f"{page.name}:{page.read_text()[: block.start()].count(chr(10)) + 1}")
    for page in PAGES
    if page.name not in TESTED_ELSEWHERE
    for block in _BLOCK.finditer(page.read_text())
]


@pytest.mark.parametrize("script", BLOCKS)
def test_a_page_s_code_runs(script: str, tmp_path: Path) -> None:
    if "\ndef test_" in script:
        (tmp_path / "test_page.py").write_text(script)
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "test_page.py"]
    else:
        command = [sys.executable, "-W", "error", "-c", script]
    ran = subprocess.run(
        command, cwd=tmp_path, timeout=120, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), link


def test_the_index_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "index.md").read_text()))
    assert {page.name for page in PAGES} - {"index.md"} <= linked
