# ruff: noqa: PLC0415 - each peer is imported where it is measured, and no other with it
# mypy: disable-error-code="import-not-found,import-untyped"
"""What others do with the same file, each as its documentation or most tutorials say: `retail_peers.py WHAT FILE URL`.

None of them validates a row or keeps a dead letter; that is not held against them in the figures.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

CHUNK = 50_000


def pandas_default(file: Path, url: str) -> None:
    """pandas, to_sql without options."""
    import pandas as pd
    import sqlalchemy

    frame = pd.read_csv(file, parse_dates=["InvoiceDate"], dtype={"InvoiceNo": str, "StockCode": str})
    frame.to_sql("pandas_rows", sqlalchemy.create_engine(driver(url)), if_exists="replace", index=False)


def pandas_multi(file: Path, url: str) -> None:
    """pandas, to_sql with method="multi" and chunks, which is what is advised where the default is too slow."""
    import pandas as pd
    import sqlalchemy

    frame = pd.read_csv(file, parse_dates=["InvoiceDate"], dtype={"InvoiceNo": str, "StockCode": str})
    engine = sqlalchemy.create_engine(driver(url))
    frame.to_sql("pandas_rows", engine, if_exists="replace", index=False, method="multi", chunksize=5000)


def pandas_workbook(file: Path, url: str) -> None:
    """pandas, openpyxl, to_sql."""
    import pandas as pd
    import sqlalchemy

    frame = pd.read_excel(file, engine="openpyxl")
    frame.to_sql("pandas_rows", sqlalchemy.create_engine(driver(url)), if_exists="replace", index=False)


def dlt_default(file: Path, url: str) -> None:
    """dlt, rows as dicts, no options: what its tutorial begins with."""

    def rows() -> Iterator[dict[str, str]]:
        with file.open(encoding="utf-8", newline="") as text:
            yield from csv.DictReader(text)

    dlt_load(rows, url)


def dlt_pandas(file: Path, url: str) -> None:
    """dlt, pandas frames of 50,000 rows (its Arrow path), csv files, workers and file sizes raised."""
    import pandas as pd

    def frames() -> Iterator[object]:
        yield from pd.read_csv(
            file, parse_dates=["InvoiceDate"], dtype={"InvoiceNo": str, "StockCode": str}, chunksize=CHUNK
        )

    tuned()
    dlt_load(frames, url, loader_file_format="csv")


def dlt_arrow(file: Path, url: str) -> None:
    """dlt, Arrow tables as they are read, csv files, workers and file sizes raised."""
    import pyarrow as pa
    from pyarrow import csv as arrow

    def tables() -> Iterator[object]:
        kinds = {"InvoiceNo": pa.string(), "StockCode": pa.string()}
        options = arrow.ConvertOptions(column_types=kinds)
        for batch in arrow.open_csv(file, convert_options=options, read_options=arrow.ReadOptions(block_size=4 << 20)):
            yield pa.Table.from_batches([batch])

    tuned()
    dlt_load(tables, url, loader_file_format="csv")


def tuned() -> None:
    """The settings of its page on performance."""
    os.environ["NORMALIZE__WORKERS"] = "2"
    os.environ["LOAD__WORKERS"] = "4"
    os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = "100000"
    os.environ["DATA_WRITER__BUFFER_MAX_ITEMS"] = "50000"


def dlt_load(rows: Callable[[], Iterator[object]], url: str, **options: str) -> None:
    """One append."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "bench", destination=dlt.destinations.postgres(url), dataset_name="dlt_rows", pipelines_dir=folder
        )
        done = pipeline.run(rows(), table_name="rows", write_disposition="append", **options)
        done.raise_on_failed_jobs()


def driver(url: str) -> str:
    """For SQLAlchemy, by the driver that we use, too."""
    return url.replace("postgresql://", "postgresql+psycopg://")


WHAT = {
    "pandas": pandas_default,
    "pandas-multi": pandas_multi,
    "pandas-workbook": pandas_workbook,
    "dlt": dlt_default,
    "dlt-pandas": dlt_pandas,
    "dlt-arrow": dlt_arrow,
}

if __name__ == "__main__":
    WHAT[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
