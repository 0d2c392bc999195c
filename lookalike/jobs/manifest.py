"""The items of a job as Parquet in the artifacts: every row group is a chunk. The plan writes it, and the chunks read it.

A manifest is a folder of files of 512 chunks each; the last file may have fewer. Chunk n is row group n % 512 of file n // 512.
Every reader of a chunk reads and holds the footer of its file, which would have 300 MB in a single file of ten million items.

Columns: position, offset, size_bytes int64; id, uri, origin, metadata (JSON), problem, problem_reason: text. Items with a
problem are in it too, so that a chunk records them; duplicates are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.artifacts import Artifacts, ArtifactWriter, translated
from lookalike.errors import Internal, NotFound, Unavailable
from lookalike.items import Item

CHUNK_ITEMS = 256
"""Items per chunk, eight full calls to the embedder: enough to keep it busy, and few enough to repeat after a kill."""
_PART_CHUNKS = 512
"""Chunks per file, which has 131,072 items."""

_TEXT = ("id", "uri", "origin", "metadata", "problem", "problem_reason")
_NUMBERS = ("position", "offset", "size_bytes")
_SCHEMA = pa.schema([*((name, pa.int64()) for name in _NUMBERS), *((name, pa.string()) for name in _TEXT)])


class ManifestWriter:
    """Writes items in order, a chunk at a time, below the folder `path`. Methods raise `Unavailable`."""

    def __init__(self, artifacts: Artifacts, path: str) -> None:
        self._artifacts, self._path = artifacts, path
        self._rows: list[Item] = []
        self.chunks = 0
        self._begin()

    def add(self, item: Item) -> None:
        self._rows.append(item)
        if len(self._rows) == CHUNK_ITEMS:
            self._write()

    def commit(self) -> None:
        """Write the remaining items. Publish the manifest's path only after this has returned."""
        if self._rows:
            self._write()
        self._end()

    def discard(self) -> None:
        with suppress(OSError, ValueError, pa.ArrowException):
            self._parquet.close()  # Before its file goes: it would write its footer when collected.
        self._file.discard()
        with suppress(Unavailable):
            self._artifacts.delete_tree(self._path)

    def _begin(self) -> None:
        self._file: ArtifactWriter = self._artifacts.open_write(_part(self._path, self.chunks))
        # Statistics would make the footer, which every reader reads, several times as long; nobody asks for them.
        self._parquet = pq.ParquetWriter(self._file.stream, _SCHEMA, compression="zstd", write_statistics=False)

    def _write(self) -> None:
        if self.chunks and self.chunks % _PART_CHUNKS == 0:
            self._end()
            self._begin()
        columns: dict[str, list[object]] = {name: [getattr(item, name) for item in self._rows] for name in _NUMBERS}
        for name in _TEXT:
            columns[name] = [_text(getattr(item, name)) for item in self._rows]
        with translated(self._path):
            self._parquet.write_table(pa.table(columns, schema=_SCHEMA), row_group_size=CHUNK_ITEMS)
        self._rows.clear()
        self.chunks += 1

    def _end(self) -> None:
        with translated(self._path):
            self._parquet.close()
        self._file.commit()


def read_chunk(artifacts: Artifacts, path: str, chunk: int) -> list[Item]:
    """The items of chunk `chunk`. Raises `NotFound` ("artifact") where the manifest is gone, `Internal` where it is damaged,
    `Unavailable` where the artifacts do not answer."""
    with _opened(artifacts, _part(path, chunk)) as file:
        return list(_items(file.read_row_group(chunk % _PART_CHUNKS).to_pylist()))


def read_columns(artifacts: Artifacts, path: str, *names: str) -> Iterator[tuple[Any, ...]]:
    """The named columns of every item, in order, one chunk in memory at a time. Raises as `read_chunk`."""
    for part in _parts(artifacts, path):
        with _opened(artifacts, part) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(names))
                yield from zip(*(table.column(name).to_pylist() for name in names), strict=True)


def read_spread(artifacts: Artifacts, path: str, count: int) -> list[Item]:
    """Up to `count` items, evenly spread over the whole manifest. Raises as `read_chunk`."""
    *full, last = _parts(artifacts, path)
    total = len(full) * _PART_CHUNKS * CHUNK_ITEMS + int(_footer(artifacts, last).num_rows)
    chosen = sorted({number * total // count for number in range(count)}) if total > count else range(total)
    found: list[Item] = []
    for chunk, rows in groupby(chosen, lambda row: row // CHUNK_ITEMS):
        items = read_chunk(artifacts, path, chunk)
        found += [items[row % CHUNK_ITEMS] for row in rows]
    return found


def _part(path: str, chunk: int) -> str:
    return f"{path}/{chunk // _PART_CHUNKS:05d}.parquet"


def _parts(artifacts: Artifacts, path: str) -> list[str]:
    found = [f"{path}/{name}" for name in artifacts.names(path) if name.endswith(".parquet")]
    if not found:
        raise NotFound("artifact", path)
    return found


@contextmanager
def _opened(artifacts: Artifacts, part: str) -> Iterator[pq.ParquetFile]:
    try:
        with artifacts.open_read(part) as stream:
            yield pq.ParquetFile(stream, metadata=_footer(artifacts, part))
    except (pa.ArrowException, OSError, IndexError) as error:
        raise Internal(f"manifest {part} cannot be read: {error}") from error


@lru_cache(maxsize=8)
def _footer(artifacts: Artifacts, part: str) -> Any:
    """The footer of a file. A manifest never changes, and a footer has some 4 MB, so each is read once, not for every chunk."""
    with artifacts.open_read(part) as stream:
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
