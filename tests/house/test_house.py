"""The rules of the house that a machine can hold us to."""

import ast
import importlib.metadata
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import premortem

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "premortem"
MODULES = sorted(PACKAGE.rglob("*.py"))
PROTECTIVE = [
    *("errors", "events", "ports", "model", "model.journal", "model.codec"),
    *(f"policies.{path.stem}" for path in sorted((PACKAGE / "policies").glob("*.py"))),
    *(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for layer in ("durable", "observe")
        for path in sorted((PACKAGE / layer).rglob("*.py"))
    ),
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_opens_with_one_sentence(path: Path) -> None:
    caption = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n", 1)[0]
    assert caption.endswith((".", "?")), f"{path} opens with {caption!r}: write one sentence, with its full stop"


def test_the_map_is_the_modules_own_first_lines() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "map.py"))["page"]
    assert (ROOT / "docs" / "map.md").read_text() == page(), "run `make map`"


def test_the_protective_half_imports_the_standard_library_alone() -> None:
    """A module for one library may say that it is missing, by the name of the extra that brings it."""
    code = (
        f"import importlib, sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "from premortem.errors import MissingRequirementError\n"
        f"for name in {PROTECTIVE!r}:\n"
        "    try: importlib.import_module(f'premortem.{name}')\n"
        "    except MissingRequirementError as missing: assert 'premortem[' in missing.way_out, name\n"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_a_plain_installation_brings_no_dependency() -> None:
    requirements = importlib.metadata.requires("premortem") or []
    assert [line for line in requirements if "extra ==" not in line] == []


def test_the_version_is_the_one_that_is_installed() -> None:
    assert importlib.metadata.version("premortem") == premortem.__version__


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ("rich", "jinja2", "psycopg", "polars", "asyncio", "premortem.experiment", "premortem.servers")),
        (["list"], ("rich", "jinja2", "psycopg", "polars", "asyncio", "premortem.servers", "premortem.experiment.lab")),
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(arguments: list[str], heavy: tuple[str, ...]) -> None:
    code = (
        "import sys, premortem.cli.app as app\n"
        f"assert app.run({arguments!r}) == 0\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_no_lock_file_names_an_index() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in lock.read_text()
        assert "--hash=sha256:" in lock.read_text()
