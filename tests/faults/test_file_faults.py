"""Faults of files: undone whatever happens meanwhile, told when they took effect, never outside the folder."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.events import Event, listening
from premortem.faults.files import Files

TABLE = b"id,price\n1,2.55\n2,3.39\n"
Fault = Callable[[Files, Path], AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "removed": lambda files, path: files.removed(path),
    "truncated": lambda files, path: files.truncated(path, keep=0.5),
    "overwritten": lambda files, path: files.overwritten(path, b"<html>", "an error page"),
    "cell": lambda files, path: files.cell(path, row=2, column="price", value="-1"),
    "column renamed": lambda files, path: files.column_renamed(path, "price", to="cost"),
    "row repeated": lambda files, path: files.row_repeated(path, row=3),
}


class MishapError(Exception):
    """Whatever may happen in the block."""


def put_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "inner").mkdir(parents=True)


def put_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent.parent / "outside.txt")


def take_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace_file(path: Path) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(b"new")
    draft.replace(path)


MISCHIEF: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "deleted": lambda path: path.unlink(missing_ok=True),
    "rewritten": lambda path: path.write_bytes(b"other"),
    "replaced": replace_file,
    "a folder now": put_folder,
    "a link now": put_link,
    "its folder gone": take_folder,
}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "lab" / "in").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("not ours")
    return Files(tmp_path / "lab")


@pytest.fixture
def path(files: Files) -> Path:
    path = files.folder / "in" / "table.csv"
    path.write_bytes(TABLE)
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all the examples of a property."""
    folder = tmp_path_factory.mktemp("faults") / "lab"
    folder.mkdir()
    return folder / "file"


@pytest.mark.parametrize("mischief", MISCHIEF)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_file_comes_back_whatever_was_made_of_it(files: Files, path: Path, fault: str, mischief: str) -> None:
    path.chmod(0o640)
    with suppress(MishapError), FAULTS[fault](files, path):
        MISCHIEF[mischief](path)
        raise MishapError
    assert not path.is_symlink()
    assert path.read_bytes() == TABLE
    assert path.stat().st_mode & 0o777 == 0o640
    assert (files.folder.parent / "outside.txt").read_text() == "not ours"


@given(content=st.binary(max_size=200), meanwhile=st.binary(max_size=200), keep=st.floats(0, 1))
def test_any_content_comes_back(shared: Path, content: bytes, meanwhile: bytes, keep: float) -> None:
    files = Files(shared.parent)
    faults: list[Callable[[], AbstractContextManager[None]]] = [
        lambda: files.removed(shared),
        lambda: files.truncated(shared, keep),
        lambda: files.overwritten(shared, meanwhile, "something else"),
    ]
    for fault in faults:
        shared.write_bytes(content)
        with suppress(FaultError), fault():  # refused where it would change nothing
            assert not shared.exists() or shared.read_bytes() != content
            shared.write_bytes(meanwhile)
        assert shared.read_bytes() == content


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=4), data=st.data())
def test_a_cell_changes_alone(shared: Path, rows: list[tuple[str, str]], data: st.DataObject) -> None:
    row = data.draw(st.integers(2, len(rows) + 1))
    value = data.draw(cells.filter(lambda value: value != rows[row - 2][1]))
    with shared.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("a", "b"), *rows])
    before = shared.read_bytes()
    with Files(shared.parent).cell(shared, row, "b", value):
        with shared.open(encoding="utf-8", newline="") as file:
            struck = [tuple(line) for line in csv.reader(file)]
        expected = [("a", "b"), *rows]
        expected[row - 1] = (rows[row - 2][0], value)
        assert struck == expected
    assert shared.read_bytes() == before


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_cell_changes_and_not_the_line_ends(files: Files, path: Path, end: str) -> None:
    path.write_bytes(TABLE.replace(b"\n", end.encode()))
    with files.cell(path, row=3, column="price", value="-1"):
        assert path.read_bytes() == TABLE.replace(b"3.39", b"-1").replace(b"\n", end.encode())


@pytest.mark.parametrize(
    ("fault", "content", "what"),
    [
        ("removed", None, "table.csv: the file is gone"),
        ("truncated", TABLE[:11], "table.csv: 11 of 23 bytes are left"),
        ("overwritten", b"<html>", "table.csv: an error page"),
        ("cell", TABLE.replace(b"2.55", b"-1"), "table.csv: row 2, price: '2.55' became '-1'"),
        ("column renamed", TABLE.replace(b"price", b"cost"), "table.csv: column price is now called cost"),
        ("row repeated", TABLE + b"2,3.39\n", "table.csv: row 3 came a second time, as row 4"),
    ],
)
def test_a_strike_is_told_after_it_took_effect(
    files: Files, path: Path, fault: str, content: bytes | None, what: str
) -> None:
    seen: list[tuple[Event, bytes | None]] = []

    def look(event: Event) -> None:
        seen.append((event, path.read_bytes() if path.exists() else None))

    with listening(look), FAULTS[fault](files, path):
        pass
    (struck, struck_content), (lifted, lifted_content) = seen
    assert (struck.name, struck.get("fault"), struck.get("what")) == ("fault.struck", fault, what)
    assert (lifted.name, lifted.get("fault"), lifted.get("what")) == ("fault.lifted", fault, "table.csv")
    assert (struck_content, lifted_content) == (content, TABLE)


@pytest.mark.parametrize("fault", FAULTS)
def test_outside_the_folder_nothing_is_struck(files: Files, path: Path, fault: str, heard: list[Event]) -> None:
    outside = files.folder.parent / "outside.csv"
    outside.write_bytes(TABLE)
    link = path.parent / "link.csv"
    link.symlink_to(outside)
    for target in (outside, link, Path("../outside.csv"), files.folder / "in" / ".." / ".." / "outside.csv"):
        with pytest.raises(FaultError, match="lies outside"), FAULTS[fault](files, target):
            pass
    assert outside.read_bytes() == TABLE
    assert heard == []


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["missing.csv", "in"])
def test_what_is_no_file_cannot_be_struck(files: Files, fault: str, name: str, heard: list[Event]) -> None:
    with pytest.raises(FaultError, match="no such file"), FAULTS[fault](files, Path(name)):
        pass
    assert heard == []


NO_STRIKES: dict[str, Fault] = {
    "all of it is kept": lambda files, path: files.truncated(path, keep=1),
    "the same content": lambda files, path: files.overwritten(path, TABLE, "the same"),
    "the same value": lambda files, path: files.cell(path, 2, "price", "2.55"),
    "the same name": lambda files, path: files.column_renamed(path, "price", to="price"),
    "more than all": lambda files, path: files.truncated(path, keep=2),
    "no such column": lambda files, path: files.cell(path, 2, "cost", "1"),
    "no such column to rename": lambda files, path: files.column_renamed(path, "cost", to="price"),
    "no such row": lambda files, path: files.cell(path, 9, "price", "1"),
    "the header": lambda files, path: files.cell(path, 1, "price", "1"),
    "no such row to repeat": lambda files, path: files.row_repeated(path, 0),
}


@pytest.mark.parametrize("attempt", NO_STRIKES)
def test_what_would_change_nothing_is_no_strike(files: Files, path: Path, attempt: str, heard: list[Event]) -> None:
    with pytest.raises(FaultError), NO_STRIKES[attempt](files, path):
        pass
    assert "fault.struck" not in [event.name for event in heard]
    assert path.read_bytes() == TABLE


def test_a_row_that_is_too_short_is_refused(files: Files, path: Path) -> None:
    path.write_text("id,price\n1\n")
    with pytest.raises(FaultError, match="too short"), files.cell(path, 2, "price", "1"):
        pass


def test_faults_of_one_file_nest(files: Files, path: Path) -> None:
    with files.cell(path, 2, "price", "-1"), files.row_repeated(path, 2), files.truncated(path, 0.9):
        pass
    assert path.read_bytes() == TABLE
