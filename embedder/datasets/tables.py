"""Columns of a CSV or Parquet file as text, row by row. Knows nothing of pictures; called by `sources` and `pairs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lookalike.csv_cells import read_back
from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.listing.parquet_pages import check_footer, rows_at_once
from lookalike.listing.text import CsvRow, csv_rows, is_utf8


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The cells of `columns` of each row, as text without spaces around; "" where a cell is empty. Whole numbers of a Parquet
    file are plain digits.

    Raises `InvalidArgument`, before the first row, for a file that cannot be read or lacks one of `columns` (naming those that
    there are), and `FailedPrecondition` where Parquet is to be read and pyarrow is not installed.
    """
    if path.suffix.lower() == ".parquet":
        return _parquet(path, columns)
    return _csv(path, columns)


def _csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    try:
        with path.open("rb") as stream:
            rows = (_cells(path, row) for row in csv_rows(stream, path.name))
            header = [name.strip() for name in next(rows, [])]
            places = [_place(path, header, column) for column in columns]
            for row in rows:
                yield tuple(read_back(row[place].strip()) if place < len(row) else "" for place in places)
    except InvalidArgument as error:
        raise InvalidArgument("dataset", error.problem) from error  # Here the field has another name.
    except OSError as error:
        raise InvalidArgument("dataset", f"{path} cannot be read: {error.strerror}") from error


def _cells(path: Path, row: CsvRow) -> list[str]:
    if row.problem:
        raise InvalidArgument("dataset", f"{path} cannot be read: {row.where}: {row.problem}")
    if not is_utf8("".join(row.cells)):
        raise InvalidArgument("dataset", f"{path} is not UTF-8; save it as UTF-8")
    return row.cells


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from lookalike.listing.tables import batch_rows
    except ImportError as error:
        problem = f"{path.name} is a Parquet file, and pyarrow, which reads it, is not installed; install it, or save a CSV"
        raise FailedPrecondition(problem, reason="PYARROW_MISSING") from error
    try:
        with path.open("rb") as stream:
            check_footer(stream)
            file = pq.ParquetFile(stream, pre_buffer=False)
            header = file.schema_arrow.names
            for column in columns:
                _place(path, header, column)
            every = range(file.metadata.num_columns)
            wanted = [number for number in every if file.schema.column(number).path.partition(".")[0] in columns]
            for group in range(file.metadata.num_row_groups):
                at_once = rows_at_once(stream, file, group, wanted)
                for batch in file.iter_batches(at_once, row_groups=[group], columns=list(columns), use_threads=False):
                    for row in batch_rows(batch):
                        if row is None:
                            raise InvalidArgument("dataset", f"{path} has a row that is too long")
                        yield tuple(_text(row[column]) for column in columns)
    except InvalidArgument as error:
        raise InvalidArgument("dataset", error.problem if error.field == "dataset" else f"{path} {error.problem}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidArgument("dataset", f"{path} cannot be read: {error}") from error


def _place(path: Path, header: Sequence[str], column: str) -> int:
    if column not in header:
        found = ", ".join(header) or "none"
        raise InvalidArgument("dataset", f"{path} has no column {column!r}; it has: {found}")
    return header.index(column)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with gaps, as pandas writes it
    return str(value).strip()
