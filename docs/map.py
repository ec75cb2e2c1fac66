"""Writes the map of the modules from their first lines: `make map`."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "premortem"
LAYERS = (
    "cli",
    "pytest_plugin",
    "museum",
    "experiment",
    "report",
    "systems",
    "faults",
    "servers",
    "observe",
    "policies",
    "durable",
    "model",
    "",
)


def caption(path: Path) -> str:
    """The first line of a module's docstring; empty where there is none."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n", 1)[0]


def modules(layer: str) -> list[Path]:
    """The modules of one layer, its own caption first."""
    found = PACKAGE.glob("*.py") if layer == "" else (PACKAGE / layer).rglob("*.py")
    return sorted(found, key=lambda path: (path.name != "__init__.py", path.as_posix()))


def page() -> str:
    """The whole map as Markdown."""
    lines = [
        "# The map",
        "",
        "Every module in one sentence, the first of its docstring; a layer imports only what stands below it.",
        "`make map` writes this page, and a test compares it with the modules.",
    ]
    for layer in LAYERS:
        lines += ["", f"## {layer or 'premortem'}", "", "| module | is |", "| --- | --- |"]
        for path in modules(layer):
            name = path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")
            lines.append(f"| `{name}` | {caption(path).replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
