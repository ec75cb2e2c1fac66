"""A step of a transformation: a folder of SQL files, run in order of their names, all of it or nothing.

Each file says in comments what it `-- needs:` and what it `-- makes:`. So a table that is not there is said before
anything runs, by the name of the file that wants it; and a file that does not make what it says is an error, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import psycopg

from premortem.systems.retail.database import Session
from premortem.systems.retail.errors import DatabaseError, TransformError

_SAYS = re.compile(r"^--\s*(needs|makes):\s*(.*)$", re.MULTILINE)
# What a semicolon may stand in without ending a statement: comments, texts, names, and bodies between dollars.
_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | (\$(?:[A-Za-z_]\w*)?\$).*?\1 | ;""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, and the line of its file on which it begins (the first is 1)."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file of a step."""

    name: str
    statements: tuple[Statement, ...]
    needs: tuple[str, ...]
    makes: tuple[str, ...]


def read_step(folders: Sequence[Traversable]) -> tuple[SqlFile, ...]:
    """The files of a step in order; a file of a later folder takes the place of one with the same name."""
    files = {entry.name: entry for folder in folders for entry in folder.iterdir() if entry.name.endswith(".sql")}
    return tuple(_file(name, files[name].read_text(encoding="utf-8")) for name in sorted(files))


def statements(text: str) -> Iterator[Statement]:
    """The statements of a file, without comments around them."""
    begin = 0
    for token in _TOKEN.finditer(text):
        if token[0] == ";":
            yield from _statement(text, begin, token.start())
            begin = token.end()
    yield from _statement(text, begin, len(text))


def run_step(session: Session, step: str, files: Sequence[SqlFile]) -> int:
    """Run all files in the open transaction of `session`; how many statements they were.

    Raises `TransformError` that names file, statement and line; the caller rolls back.
    """
    _check(session, step, files)
    for file in files:
        for number, statement in enumerate(file.statements, 1):
            _execute(session, step, file, number, statement)
        absent = _absent(session, file.makes)
        if absent:
            raise TransformError(
                f"{file.name}: says that it makes {', '.join(absent)}, and does not; step {step} was rolled back; "
                "correct its `-- makes:` or its statements",
                file=file.name,
                statement=0,
                line=1,
            )
    return sum(len(file.statements) for file in files)


def _file(name: str, text: str) -> SqlFile:
    said: dict[str, list[str]] = {"needs": [], "makes": []}
    for what, names in _SAYS.findall(text):
        said[what] += [each.strip() for each in names.split(",") if each.strip()]
    return SqlFile(name, tuple(statements(text)), tuple(said["needs"]), tuple(said["makes"]))


def _statement(text: str, begin: int, end: int) -> Iterator[Statement]:
    # Comments and blanks before the statement are none of it: its line is that of its first word.
    lead = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL).match(text, begin, end)
    start = lead.end() if lead else begin
    if start < end:
        yield Statement(text[start:end].rstrip(), text.count("\n", 0, start) + 1)


def _check(session: Session, step: str, files: Sequence[SqlFile]) -> None:
    made: set[str] = set()
    for file in files:
        absent = _absent(session, [name for name in file.needs if name not in made])
        if absent:
            raise TransformError(
                f"{file.name}: needs {', '.join(absent)}, which is not there, and no file before it makes it; "
                f"step {step} was not begun; run the step that makes it first",
                file=file.name,
                statement=0,
                line=1,
            )
        made.update(file.makes)


def _absent(session: Session, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    with session.talking("looking for tables"):
        rows = session.connection.execute(
            "select name from unnest(%s::text[]) as name where to_regclass(name) is null", [list(names)]
        ).fetchall()
    return [str(name) for (name,) in rows]


def _execute(session: Session, step: str, file: SqlFile, number: int, statement: Statement) -> None:
    try:
        with session.talking(f"running {file.name}"):
            session.connection.execute(statement.text.encode())
    except DatabaseError as error:
        if error.sqlstate is None:  # the connection, not the statement
            raise
        said = getattr(error.__cause__, "diag", None)
        line = statement.line + _line_within(said, statement)
        reason = " ".join(str(said.message_primary if said else error).split())
        failure = TransformError(
            f"{file.name}, statement {number}, line {line}: {reason} (SQLSTATE {error.sqlstate}); step {step} was "
            "rolled back whole; correct the statement, or what it reads, and run the step again",
            file=file.name,
            statement=number,
            line=line,
        )
        failure.sqlstate = error.sqlstate
        raise failure from error


def _line_within(said: psycopg.errors.Diagnostic | None, statement: Statement) -> int:
    """How many lines below its first one the statement went wrong, as far as the server tells."""
    position = said.statement_position if said else None
    if position:
        return statement.text.count("\n", 0, int(position) - 1)
    # In a body between dollars the server counts lines from the one on which the body begins.
    inner = re.search(r"inline_code_block line (\d+)", (said.context if said else None) or "")
    before = statement.text.split("$", 1)[0].count("\n")
    return before + int(inner[1]) - 1 if inner else 0
