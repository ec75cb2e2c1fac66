"""Progress that was damaged, under sameness by content: rows that were taken out are not known any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from premortem.systems.retail.run import run
from premortem.systems.retail.sample import write_sample

Count = Callable[[], tuple[int, int, int]]


@pytest.mark.parametrize("chunk", [0, 2])
def test_what_was_taken_back_is_loaded_again(
    chunk: int, tmp_path: Path, database_url: str, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "25")
    path = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    run([path], database_url, by="content")
    assert count() == (100, 0, 1)
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from bronze.chunks where chunk = %s", [chunk])
    (file,) = run([path], database_url, by="content").files
    assert file.known == 0
    assert count() == (100, 0, 1)
