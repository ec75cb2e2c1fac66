"""What keeps a file from two workers, and its progress from a hand: each of the two checks by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from premortem.systems.retail.chunk import load_chunk
from premortem.systems.retail.database import Session, open_session
from premortem.systems.retail.errors import LostRowsError, StaleClaimError
from premortem.systems.retail.load import prepare
from premortem.systems.retail.pieces import open_pieces
from premortem.systems.retail.progress import Chunk, claim, sound_part
from premortem.systems.retail.ready import Preparation
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILE = "f" * 64
FIRST = Chunk(0, 0, 100, 2, 12, 10, 10, 0, 0, 1, "shop", "1", "")
SECOND = Chunk(1, 100, 200, 12, 22, 10, 9, 1, 0, 1, "shop", "1", "")


@pytest.fixture
def few(database_url: str, monkeypatch: pytest.MonkeyPatch) -> RetailSettings:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "25")
    return read_settings(database_url)


@pytest.fixture
def sessions(database_url: str, few: RetailSettings) -> Iterator[tuple[Session, Session]]:
    two = tuple(open_session(parse_target(database_url), few, "") for _ in range(2))
    prepare(two[0])
    yield two[0], two[1]
    for session in two:
        session.close()


def test_an_older_claim_writes_nothing_though_no_chunk_came_between(
    tmp_path: Path, database_url: str, few: RetailSettings, sessions: tuple[Session, Session]
) -> None:
    """Two who cut the file at other places would else take each other's chunks for their own."""
    old, new = sessions
    with open_pieces(write_sample(tmp_path / "a.csv", 100, dirty=False).path) as pieces:
        ours = claim(old, pieces, "old", "file", NOW)
        theirs = claim(new, pieces, "new", "file", NOW)
        assert theirs.epoch > ours.epoch
        ready = next(Preparation(pieces, ours, few, by_content=False).all())
        with pytest.raises(StaleClaimError, match="new has it now"):
            load_chunk(old, ours, ready, "1")
        with psycopg.connect(database_url) as connection:
            row = connection.execute(
                "select (select count(*) from bronze.chunks), (select count(*) from bronze.raw_transactions)"
            ).fetchone()
        assert row == (0, 0)
        assert load_chunk(new, theirs, ready, "1").chunk.epoch == theirs.epoch


def test_a_chunk_that_another_has_committed_is_not_taken_for_ours(
    tmp_path: Path, database_url: str, few: RetailSettings, sessions: tuple[Session, Session]
) -> None:
    """It has the number that ours would have, and other rows."""
    old, new = sessions
    with open_pieces(write_sample(tmp_path / "a.csv", 100, dirty=False).path) as pieces:
        ours = claim(old, pieces, "old", "file", NOW)
        theirs = claim(new, pieces, "new", "file", NOW)
        larger = read_settings(database_url, chunk_rows=50)
        load_chunk(new, theirs, next(Preparation(pieces, theirs, larger, by_content=False).all()), "1")
        with pytest.raises(StaleClaimError, match="new has it now"):
            load_chunk(old, ours, next(Preparation(pieces, ours, few, by_content=False).all()), "1")


def sealed(*chunks: Chunk, of: str = FILE) -> list[tuple[Chunk, str]]:
    told, seal = [], of
    for chunk in chunks:
        seal = chunk.seal(seal, 7)
        told.append((chunk, seal))
    return told


def test_a_seal_holds_for_its_place_in_the_chain() -> None:
    whole = sealed(FIRST, SECOND)
    assert sound_part(whole, 7, FILE) == ([FIRST, SECOND], whole[1][1])
    assert sound_part(whole, 8, FILE) == ([], FILE)  # another batch
    assert sound_part(whole, 7, "e" * 64) == ([], "e" * 64)  # another file


def test_one_row_that_is_changed_and_sealed_anew_gives_itself_away_at_the_next() -> None:
    forged = replace(FIRST, rows_loaded=9, rows_dead=1)
    (changed,) = sealed(forged)
    assert sound_part([changed, sealed(FIRST, SECOND)[1]], 7, FILE) == ([forged], changed[1])


SWALLOW = """
create function bronze.swallow() returns trigger language plpgsql as
    $$ begin return case when new.source_row % 30 = 0 then null else new end; end $$;
create trigger swallow before insert on bronze.raw_transactions for each row execute function bronze.swallow()
"""


def test_rows_that_the_database_does_not_take_are_missed(
    tmp_path: Path, database_url: str, few: RetailSettings, sessions: tuple[Session, Session]
) -> None:
    """It reports no error: only its count says so."""
    session = sessions[0]
    with psycopg.connect(database_url) as connection:
        connection.execute(SWALLOW)
    with open_pieces(write_sample(tmp_path / "a.csv", 100, dirty=False).path) as pieces:
        ours = claim(session, pieces, "old", "file", NOW)
        first, second, *_ = Preparation(pieces, ours, few, by_content=False).all()
        done = load_chunk(session, ours, first, "1")
        with pytest.raises(LostRowsError, match="rolled back"):
            load_chunk(session, ours.after(done.chunk, done.seal), second, "1")
    session.close()
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select max(source_row), (select count(*) from bronze.chunks) from bronze.raw_transactions"
        )
        assert row.fetchone() == (first.end.row - 1, 1)
