"""What is documented is run: the pages' exhibits are written, their commands typed, their output compared."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from premortem.systems.retail.sample import write_sample

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/exhibits.md")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/]+\.py)`|prove ([\w/]+\.py)")


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    file: str  # the last Python file that the page named before it
    shown: bool  # named in the very line before it: the block is that file


@dataclass(frozen=True)
class Command:
    line: str
    code: int
    said: tuple[str, ...]


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = []
    for fence in _FENCE.finditer(text):
        indent = len(fence["indent"])
        lines = [line[indent:] for line in fence["text"].splitlines()]
        named = _FILE.findall(text[: fence.start()])
        file = next(filter(None, named[-1])) if named else "failures/example.py"
        shown = _FILE.search(text[: fence.start()].rstrip().rpartition("\n")[2]) is not None
        found.append(Block(fence["kind"], "\n".join(lines) + "\n", file, shown))
    return found


def commands(console: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        line, *said = part.splitlines()
        codes = [int(code) for code in re.findall(r"^\[exit code (\d+)\]$", part, flags=re.MULTILINE)]
        fragments = [
            fragment.strip() for text in said if not text.startswith("[exit") for fragment in text.split("...")
        ]
        yield Command(line, codes[0] if codes else 0, tuple(filter(None, fragments)))


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="premortem-docs-"))
    path.chmod(0o755)  # as root, the embedded server runs as somebody else and has to get to its data
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(page: str, folder: Path) -> None:
    write_sample(folder / "invoices.csv", rows=60, seed=1)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    ran = 0
    for block in blocks(page):
        if block.kind == "python" and "PREDICTION" not in block.text and not block.shown:
            subprocess.run([sys.executable, "-c", block.text], cwd=folder, check=True)
        elif block.kind == "python":
            file = folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        for command in commands(block.text) if block.kind == "console" else ():
            done = subprocess.run(
                ["bash", "-c", command.line], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            output = done.stdout + done.stderr
            assert done.returncode == command.code, output
            rest = output
            for fragment in command.said:
                assert fragment in rest, f"{fragment!r} is not in what {command.line!r} printed:\n{output}"
                rest = rest.split(fragment, 1)[1]
            ran += 1
    assert ran or page.startswith("docs/")


@pytest.mark.parametrize("page", PAGES)
def test_every_exhibit_of_the_page_is_proven(page: str, folder: Path) -> None:
    written = [block for block in blocks(page) if "PREDICTION" in block.text and block.kind == "python"]
    assert written
    for number, block in enumerate(written):
        (folder / f"example_{number}.py").write_text(block.text)
    done = subprocess.run(
        [sys.executable, "-m", "premortem", "prove", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "BENCHMARKS.md", "docs/map.md"])
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text()):
        if not link.startswith("https://"):
            assert ((ROOT / page).parent / link).exists(), link
