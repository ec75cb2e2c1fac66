from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError
from premortem.systems.retail.reader import read_file
from premortem.systems.retail.rules import Limits, classify
from premortem.systems.retail.sample import write_sample

LIMITS = Limits.at(datetime(2026, 1, 1, tzinfo=UTC))
SUFFIXES = ["xlsx", "csv", "parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_dead_are_known_beforehand(suffix: str, tmp_path: Path) -> None:
    sample = write_sample(tmp_path / f"a.{suffix}", 700, seed=7)
    rows = classify(read_file(sample.path), LIMITS)
    assert (sample.rows, sample.dead) == (700, 4)
    assert rows.good.height == 696
    assert dict(rows.dead_by_rule) == {
        "description_present": 2,
        "unitprice_not_negative": 1,
        "unitprice_not_above_max": 1,
    }
    assert rows.good["customerid"].null_count() > 100
    assert rows.good["invoiceno"].str.starts_with("C").any()


def test_all_formats_hold_the_same_rows(tmp_path: Path) -> None:
    heaps = [classify(read_file(write_sample(tmp_path / f"a.{s}", 60, seed=1).path), LIMITS).good for s in SUFFIXES]
    plain = [heap.drop("unitprice").rows() for heap in heaps]
    assert plain[0] == plain[1] == plain[2]
    assert [float(x) for x in heaps[0]["unitprice"]] == [float(x) for x in heaps[2]["unitprice"]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_seed_same_bytes(suffix: str, tmp_path: Path) -> None:
    one, two, other = (
        write_sample(tmp_path / f"{name}.{suffix}", 50, seed=seed).path.read_bytes()
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    assert one == two != other


def test_small_and_clean(tmp_path: Path) -> None:
    sample = write_sample(tmp_path / "a.csv", 1, dirty=False)
    assert sample.dead == 0
    assert read_file(sample.path).rows.height == 1


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"written as \.xlsx, \.csv, \.parquet"):
        write_sample(tmp_path / "a.json")
    with pytest.raises(ConfigurationError, match="20 rows or more"):
        write_sample(tmp_path / "a.csv", 5)
