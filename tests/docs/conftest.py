"""How a page is run: its exhibits are written, its scripts run, its commands typed, their output compared."""

from __future__ import annotations

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
_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w/]+\.py)`|prove ([\w/]+\.py)")
_FIXED = re.compile(r"^def fixed\(.*?(?=^def )", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE
)  # in its place, or named at the end of the page
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    file: str  # the last Python file that the page named before it
    shown: bool  # named in the very line before it: the block is that file

    @property
    def is_solution(self) -> bool:
        """The `fixed` of an exercise that the page gave before, with its fix left out."""
        return self.kind == "python" and self.text.startswith("def fixed(")

    @property
    def is_exhibit(self) -> bool:
        return self.kind == "python" and "PREDICTION" in self.text


@dataclass(frozen=True)
class Command:
    line: str
    code: int
    said: tuple[str, ...]


class Pages:
    """Reads pages, and does what they say in a folder of its own."""

    root = ROOT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "120"}

    def blocks(self, page: str) -> list[Block]:
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

    def do(self, page: str) -> int:
        """Write, run and type what stands there; the number of commands that were typed."""
        ran = 0
        for block in self.blocks(page):
            file = self.folder / block.file
            if block.is_solution:
                exercise = file.read_text()
                (unsolved,) = _FIXED.findall(exercise)
                file.write_text(exercise.replace(unsolved, block.text + "\n\n"))
            elif block.is_exhibit or (block.kind == "python" and block.shown):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            elif block.kind == "python":
                subprocess.run([sys.executable, "-c", block.text], cwd=self.folder, check=True)
            for command in _commands(block.text) if block.kind == "console" else ():
                self.type(command)
                ran += 1
        return ran

    def commands(self, page: str) -> list[Command]:
        return [command for block in self.blocks(page) if block.kind == "console" for command in _commands(block.text)]

    def type(self, command: Command) -> None:
        """Run one command; what the page shows of its output has to be there, in this order."""
        output = self.output(["bash", "-c", command.line], command.code)
        rest = output
        for fragment in command.said:
            assert fragment in rest, f"{fragment!r} is not in what {command.line!r} printed:\n{output}"
            rest = rest.split(fragment, 1)[1]

    def output(self, command: list[str], code: int = 0) -> str:
        """What a command prints; its exit code has to be `code`."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def broken_links(self, page: str) -> list[str]:
        """The links of a page that lead nowhere: no such file, or no such heading in it."""
        broken = []
        for link in map("".join, _LINK.findall((ROOT / page).read_text())):
            name, _, anchor = link.partition("#")
            target = ((ROOT / page).parent / name) if name else ROOT / page
            if link.startswith("https://"):
                continue
            if not target.exists() or (anchor and anchor not in _anchors(target.read_text())):
                broken.append(link)
        return broken


def _commands(console: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        line, *said = part.splitlines()
        codes = [int(code) for code in re.findall(r"^\[exit code (\d+)\]$", part, flags=re.MULTILINE)]
        fragments = [
            fragment.strip() for text in said if not text.startswith("[exit") for fragment in text.split("...")
        ]
        yield Command(line, codes[0] if codes else 0, tuple(filter(None, fragments)))


def _anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(_FENCE.sub("", text))
    }


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A folder for a page to do its work in, with the delivery in it that the pages speak of."""
    path = Path(tempfile.mkdtemp(prefix="premortem-docs-"))
    path.chmod(0o755)  # as root, the embedded server runs as somebody else and has to get to its data
    write_sample(path / "invoices.csv", rows=60, seed=1)
    yield Pages(path)
    shutil.rmtree(path)
