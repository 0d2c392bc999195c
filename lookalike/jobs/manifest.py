"""The items of a job as one Parquet file in the artifacts: row group n is chunk n. Written by the plan, read by the chunks.

Columns: position, offset, size_bytes int64; id, uri, origin, metadata (JSON), problem, problem_reason: text. Items with a
problem are in it too, so that a chunk records them; duplicates are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.artifacts import Artifacts, ArtifactWriter, translated
from lookalike.errors import Internal
from lookalike.items import Item

CHUNK_ITEMS = 256
"""Eight full calls to the embedder: enough to keep it busy, little enough to do again after a kill."""

_TEXT = ("id", "uri", "origin", "metadata", "problem", "problem_reason")
_NUMBERS = ("position", "offset", "size_bytes")
_SCHEMA = pa.schema([*((name, pa.int64()) for name in _NUMBERS), *((name, pa.string()) for name in _TEXT)])


class ManifestWriter:
    """Writes items in order, a chunk at a time. Nothing of it is there before `commit`. Methods raise `Unavailable`."""

    def __init__(self, artifacts: Artifacts, path: str) -> None:
        self._path = path
        self._file: ArtifactWriter = artifacts.open_write(path)
        # Statistics would make the footer, which every reader reads, several times as long; nobody asks for them.
        self._parquet = pq.ParquetWriter(self._file.stream, _SCHEMA, compression="zstd", write_statistics=False)
        self._rows: list[Item] = []
        self.chunks = 0

    def add(self, item: Item) -> None:
        self._rows.append(item)
        if len(self._rows) == CHUNK_ITEMS:
            self._write()

    def commit(self) -> None:
        if self._rows:
            self._write()
        with translated(self._path):
            self._parquet.close()
        self._file.commit()

    def discard(self) -> None:
        with suppress(OSError, ValueError, pa.ArrowException):
            self._parquet.close()  # Before its file goes: it would write its footer when collected.
        self._file.discard()

    def _write(self) -> None:
        columns: dict[str, list[object]] = {name: [getattr(item, name) for item in self._rows] for name in _NUMBERS}
        for name in _TEXT:
            columns[name] = [_text(getattr(item, name)) for item in self._rows]
        with translated(self._path):
            self._parquet.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=CHUNK_ITEMS)
        self._rows.clear()
        self.chunks += 1


def read_columns(artifacts: Artifacts, path: str, *names: str) -> Iterator[tuple[Any, ...]]:
    """Those columns of every item, in order, a chunk's worth in memory at a time. Raises as `read_chunk`."""
    try:
        with artifacts.open_read(path) as stream:
            file = pq.ParquetFile(stream, metadata=_footer(artifacts, path))
            for chunk in range(file.num_row_groups):
                table = file.read_row_group(chunk, columns=list(names))
                yield from zip(*(table.column(name).to_pylist() for name in names), strict=True)
    except (pa.ArrowException, OSError, IndexError) as error:
        raise Internal(f"manifest {path} cannot be read: {error}") from error


def read_spread(artifacts: Artifacts, path: str, count: int) -> list[Item]:
    """Up to `count` items, evenly spread over the whole manifest. Raises as `read_chunk`."""
    total = int(_footer(artifacts, path).num_rows)
    chosen = sorted({number * total // count for number in range(count)}) if total > count else range(total)
    by_chunk = groupby(chosen, lambda row: row // CHUNK_ITEMS)
    return [
        items[row % CHUNK_ITEMS] for chunk, rows in by_chunk for items in [read_chunk(artifacts, path, chunk)] for row in rows
    ]


def read_chunk(artifacts: Artifacts, path: str, chunk: int) -> list[Item]:
    """The items of chunk `chunk`. Raises `NotFound` ("artifact") where the manifest is gone, `Internal` where it is damaged,
    `Unavailable` where the artifacts do not answer."""
    try:
        with artifacts.open_read(path) as stream:
            table = pq.ParquetFile(stream, metadata=_footer(artifacts, path)).read_row_group(chunk)
    except (pa.ArrowException, OSError, IndexError) as error:
        raise Internal(f"manifest {path} cannot be read: {error}") from error
    return list(_items(table.to_pylist()))


@lru_cache(maxsize=4)
def _footer(artifacts: Artifacts, path: str) -> Any:
    """A manifest never changes, and the footer of one of ten million rows is long: it is read once per worker."""
    with artifacts.open_read(path) as stream:
        return pq.read_metadata(stream)


def _items(rows: Iterable[Mapping[str, Any]]) -> Iterable[Item]:
    for row in rows:
        yield Item(
            position=row["position"],
            id=row["id"],
            uri=row["uri"],
            metadata=json.loads(row["metadata"]),
            problem=row["problem"],
            problem_reason=row["problem_reason"],
            origin=row["origin"],
            # Not in the manifests of jobs that were planned before archives could be read.
            offset=row.get("offset", -1),
            size_bytes=row.get("size_bytes", 0),
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
