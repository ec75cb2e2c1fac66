"""The journal: whatever part of it the disk has, what it says took place, and the next line can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.faults.leases import lease_journal
from premortem.faults.leases.identity import Owner
from premortem.faults.leases.lease_journal import Entry
from premortem.faults.leases.undo import Continue

OWNER = Owner(4711, "a boot/12")


def entry(number: int, what: str = "frozen") -> Entry:
    return Entry(number, what, Continue(1, "x"), "2026-01-01T00:00:00+00:00", 30.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the examples of a property."""
    return tmp_path_factory.mktemp("journals")


steps = st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.text(max_size=5)), max_size=12)


@given(steps=steps)
def test_what_was_opened_and_not_closed_is_open_the_last_first(
    shared: Path, steps: list[tuple[bool, int, str]]
) -> None:
    path = lease_journal.file_of(shared / "model", OWNER)
    path.unlink(missing_ok=True)
    lease_journal.write_open(path, OWNER, entry(0))
    opened, closed = [entry(0)], set()
    for number, (opens, one, what) in enumerate(steps, 1):
        if opens:
            opened.append(entry(number, what))
            lease_journal.write_open(path, OWNER, opened[-1])
        else:
            closed.add(one)
            lease_journal.write_done(path, one, "owner", what)
    found = lease_journal.read(path)
    assert found.owner == OWNER
    assert found.entries == tuple(opened)
    assert found.left_open == tuple(one for one in reversed(opened) if one.id not in closed)


@given(cut=st.integers(0, 10_000))
def test_a_torn_line_did_not_happen_and_the_next_one_stands_alone(shared: Path, cut: int) -> None:
    path = lease_journal.file_of(shared / "torn", OWNER)
    path.unlink(missing_ok=True)
    for number in (1, 2, 3):
        lease_journal.write_open(path, OWNER, entry(number))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1  # the first line comes with the file: it is renamed into place
    kept = whole[: max(first, cut % len(whole))]
    path.write_bytes(kept)
    certain = [entry(number) for number in range(1, kept.count(b"\n"))]
    assert list(lease_journal.read(path).entries)[: len(certain)] == certain
    lease_journal.write_done(path, 1, "heal", "")
    found = lease_journal.read(path)
    assert found.closed == {1}
    assert found.unreadable == ()
    assert [one.id for one in found.entries][: len(certain)] == [one.id for one in certain]


def test_a_file_is_there_with_its_first_line_or_not_at_all(tmp_path: Path) -> None:
    path = lease_journal.file_of(tmp_path, OWNER)
    path.with_suffix(".draft").write_bytes(b'{"own')  # one who died before us, under our very name
    lease_journal.write_open(path, OWNER, entry(1))
    assert lease_journal.read(path).entries == (entry(1),)
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_of_another_version_is_kept_and_told(tmp_path: Path) -> None:
    path = lease_journal.file_of(tmp_path, OWNER)
    lease_journal.write_open(path, OWNER, entry(1))
    with path.open("a") as file:
        file.write('{"open": 2, "what": "x", "at": "y", "ttl_s": 1, "undo": {"kind": "of the future"}}\n')
    lease_journal.write_done(path, 1, "owner", "")
    found = lease_journal.read(path)
    assert len(found.unreadable) == 1
    assert not lease_journal.tidy(found)
    assert path.exists()


def test_a_file_without_an_owner_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("hello\n")
    with pytest.raises(ConfigurationError, match="whose it is"):
        lease_journal.read(tmp_path / "x.jsonl")


def test_the_folder_is_the_one_given_or_that_of_the_environment_or_the_project_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREMORTEM_FAULTS", raising=False)
    assert lease_journal.folder_of(None) == tmp_path / ".premortem" / "faults"
    monkeypatch.setenv("PREMORTEM_FAULTS", "elsewhere")
    assert lease_journal.folder_of(None) == tmp_path / "elsewhere"
    assert lease_journal.folder_of(Path("/given")) == Path("/given")
