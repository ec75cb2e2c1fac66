"""Finds exhibits by folder and reads them without running them: the gallery is the folder, the slug the file.

Reading is static (the syntax tree), so that listing a hundred exhibits imports none of them, and an exhibit that
raises, hangs or exits when imported can still be named.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.experiment.parts import PARTS
from premortem.faults.needs import NEEDS
from premortem.model import FailureMode

HEADINGS = ("Cause", "Effect", "Fix", "Prevention")
SERVERS = ("postgres", "own_postgres", "valkey")
_HEADING = re.compile(r"^[ \t]*(Cause|Effect|Fix|Prevention):[ \t]*", re.MULTILINE)


def find_in(root: Path) -> list[FailureMode]:
    """Every exhibit below `root`, by gallery and name. Modules that hold no part of an exhibit are none."""
    found = (read(path) for path in sorted(root.rglob("*.py")) if _may_be_exhibit(path.relative_to(root)))
    return [mode for mode in found if mode is not None]


def find_at(path: Path) -> list[FailureMode]:
    """The exhibit in a file, or those in a folder. ConfigurationError where there are none."""
    if path.is_file():
        mode = read(path)
        if mode is None:
            raise ConfigurationError(f"{path}: holds no part of an exhibit; it has to hold {', '.join(PARTS.values())}")
        return [mode]
    if not path.is_dir():
        raise ConfigurationError(f"{path}: there is no such file or folder; name one that holds exhibits")
    if not (modes := find_in(path)):
        raise ConfigurationError(f"{path}: holds no exhibit; `premortem new {path}/my-failure` starts one")
    return modes


def read(path: Path) -> FailureMode | None:
    """One file as a failure mode, with what it lacks in words; None when it holds no part of an exhibit."""
    gallery, slug = path.resolve().parent.name, path.stem.replace("_", "-")
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:  # the last two: nested too deep
        return FailureMode(gallery, slug, str(path), flaw=f"cannot be read as Python: {error}")
    parts = _top_level(tree)
    if not parts.keys() & PARTS.keys():
        return None
    docstring = ast.get_docstring(tree) or ""
    title, story = _story(docstring)
    needs, wrong_needs = _needs(parts.get("NEEDS"))
    lacking = [*_lacking_parts(parts), *_lacking_story(title, story), *wrong_needs]
    return FailureMode(
        gallery=gallery,
        slug=slug,
        path=str(path),
        title=title,
        cause=story.get("Cause", ""),
        effect=story.get("Effect", ""),
        fix=story.get("Fix", ""),
        prevention=story.get("Prevention", ""),
        needs=needs,
        broken=_source(source, parts.get("broken")),
        fixed=_source(source, parts.get("fixed")),
        flaw="; ".join(lacking),
        digest=hashlib.sha256(source.encode()).hexdigest()[:16],
    )


def _may_be_exhibit(path: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return not hidden and path.name not in ("conftest.py", "setup.py")


def _top_level(tree: ast.Module) -> dict[str, ast.stmt]:
    """Names that the module binds at its top, each with the statement that does."""
    bound: dict[str, ast.stmt] = {}
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound[name] = statement
            case ast.Assign(targets=targets):
                bound |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                bound[name] = statement
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound |= {alias.asname or alias.name: statement for alias in names}
            case _:
                pass
    return bound


def _story(docstring: str) -> tuple[str, dict[str, str]]:
    """Title and texts under the headings; continuation lines joined."""
    title = docstring.split("\n", 1)[0].strip()
    pieces = _HEADING.split(docstring)
    return title, {head: " ".join(text.split()) for head, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def _lacking_parts(parts: dict[str, ast.stmt]) -> Iterable[str]:
    lacking = [text for name, text in PARTS.items() if name not in parts]
    if lacking:
        yield f"lacks {', '.join(lacking)}"
    scenario = parts.get("scenario")
    if isinstance(scenario, ast.FunctionDef | ast.AsyncFunctionDef) and len(scenario.args.args) != len(
        ("subject", "lab")
    ):
        yield f"scenario takes {len(scenario.args.args)} arguments and has to take two: scenario(subject, lab)"


def _lacking_story(title: str, story: dict[str, str]) -> Iterable[str]:
    if not title:
        yield "lacks a docstring: its first line is the title"
    if lacking := [heading for heading in HEADINGS if not story.get(heading)]:
        yield f"its docstring lacks {', '.join(f'{heading}: ...' for heading in lacking)}"
    elif list(story) != list(HEADINGS):
        yield f"its docstring has to go in this order: {', '.join(HEADINGS)}"


def _needs(statement: ast.stmt | None) -> tuple[tuple[str, ...], list[str]]:
    if statement is None:
        return (), []
    value: object = None
    if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
        try:
            value = ast.literal_eval(statement.value)
        except (ValueError, TypeError):  # not a literal, or one that cannot be built: {[]: 1}
            value = ast.unparse(statement.value)
    known = (*SERVERS, *NEEDS)
    if isinstance(value, tuple) and all(name in known for name in value):
        return value, []
    return (), [f"NEEDS = {value!r}: has to be a tuple of names among {', '.join(known)}; write NEEDS = ('postgres',)"]


def _source(source: str, statement: ast.stmt | None) -> str:
    return (ast.get_source_segment(source, statement) or "") if statement is not None else ""
