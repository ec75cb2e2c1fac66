"""The pages about seeing: every block of Python is a complete script, and runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "observe"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block[1], id=f"{page.name}:{page.read_text()[: block.start()].count(chr(10)) + 1}")
    for page in sorted(FOLDER.glob("*.md"))
    for block in _BLOCK.finditer(page.read_text())
]


@pytest.mark.parametrize("script", BLOCKS)
def test_a_page_s_code_runs(script: str, tmp_path: Path) -> None:
    assert "assert " in script
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, timeout=60, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
