"""What an export consists of: `collection.json` and Parquet shards of images, in one folder or prefix of an object store.

collection.json       format, the collection's settings and spaces with their fingerprints, the shards with their counts,
                      and whether it is complete. Written anew after each shard: what it names is whole
images-00000.parquet  id, uri, metadata (JSON), sha256, revision, indexed_at, and one column of vectors per space,
                      `vector_{space}`, a fixed-size list of float32. In order of id, over all shards
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.artifacts import Artifacts, translated
from lookalike.client import Image
from lookalike.errors import FailedPrecondition, NotFound
from lookalike.spaces import HistogramSettings, Metric, Space

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
DESCRIPTION = "collection.json"
ROWS_AT_ONCE = 500
"""Images per row group: what is in memory at a time, and what one call of an import sends. With vectors of 256 and 256 values
and the largest metadata that is 12 MB."""
_BATCH_BYTES = 12 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of images: how many it holds, and the last id in it."""

    name: str
    images: int
    last_id: str


@dataclass(frozen=True, slots=True)
class Export:
    """What `collection.json` says. `made_at` is when the collection was made (ISO 8601): it tells one from its namesake."""

    name: str
    description: str
    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
    made_at: str
    shards: tuple[Shard, ...] = ()
    complete: bool = False

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)


def read_export(files: Artifacts) -> Export | None:
    """What is there; None where nothing is. Raises `FailedPrecondition` EXPORT_DAMAGED or EXPORT_FORMAT_UNKNOWN."""
    try:
        raw = json.loads(files.read(DESCRIPTION))
        if raw["format"] != FORMAT:
            problem = f"{DESCRIPTION} has format {raw['format']}; this version of lookalike reads format {FORMAT}"
            raise FailedPrecondition(problem, reason="EXPORT_FORMAT_UNKNOWN")
        return Export(
            name=raw["name"],
            description=raw["description"],
            model=raw["model"],
            histogram=HistogramSettings(**raw["histogram"]),
            spaces=tuple(Space(s["name"], s["dimension"], Metric(s["metric"]), s["fingerprint"]) for s in raw["spaces"]),
            made_at=raw["made_at"],
            shards=tuple(Shard(**shard) for shard in raw["shards"]),
            complete=raw["complete"],
        )
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(DESCRIPTION, str(error)) from error


def write_export(files: Artifacts, export: Export) -> None:
    """Write `collection.json` as a whole."""
    spaces = [{**asdict(space), "metric": space.metric.value} for space in export.spaces]
    files.write(DESCRIPTION, json.dumps({"format": FORMAT, **asdict(export), "spaces": spaces}, indent=2).encode())


def rows_at_once(spaces: Sequence[Space]) -> int:
    """Images per row group: fewer where their vectors are long."""
    return max(1, min(ROWS_AT_ONCE, _BATCH_BYTES // sum(4 * space.dimension for space in spaces)))


@contextmanager
def shard_writer(files: Artifacts, name: str, spaces: Sequence[Space]) -> Iterator[ShardWriter]:
    """A shard that is there as a whole when the block has ended well, and not at all otherwise."""
    file = files.open_write(name)
    writer = ShardWriter(file.stream, name, spaces)
    try:
        yield writer
        writer.close()
        file.commit()
    except BaseException:
        writer.abandon()
        file.discard()
        raise


class ShardWriter:
    """Writes row groups. Made by `shard_writer`."""

    def __init__(self, stream: Any, name: str, spaces: Sequence[Space]) -> None:
        import pyarrow.parquet as pq

        self._name, self._spaces, self._schema = name, spaces, _schema(spaces)
        self._parquet = pq.ParquetWriter(stream, self._schema, compression="zstd", write_page_checksum=True)

    def write(self, images: Sequence[Image]) -> None:
        """Write one row group."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "id": [image.id for image in images],
            "uri": [image.uri for image in images],
            "metadata": [json.dumps(dict(image.metadata), ensure_ascii=False) for image in images],
            "sha256": [image.sha256 for image in images],
            "revision": [image.revision for image in images],
            "indexed_at": [image.indexed_at for image in images],
        }
        for space in self._spaces:
            values = np.concatenate([image.vectors[space.name] for image in images])
            columns[_column(space)] = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), space.dimension)
        with translated(self._name):
            self._parquet.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        with translated(self._name):
            self._parquet.close()

    def abandon(self) -> None:
        import pyarrow as pa

        try:
            self._parquet.close()  # Before its file goes: it would write its footer when collected.
        except (OSError, ValueError, pa.ArrowException):
            return


def check_shard(files: Artifacts, shard: Shard, spaces: Sequence[Space]) -> None:
    """Look at a shard's footer. Raises `FailedPrecondition` EXPORT_DAMAGED where it is not what `collection.json` says."""
    with _parquet_of(files, shard) as parquet:
        if parquet.metadata.num_rows != shard.images:
            raise damaged(shard.name, f"it holds {parquet.metadata.num_rows} images instead of {shard.images}")
        wrong = [field.name for field in _schema(spaces) if field not in list(parquet.schema_arrow)]
        if wrong:
            raise damaged(shard.name, f"column {wrong[0]} is missing or of another type")


def read_shard(files: Artifacts, shard: Shard, spaces: Sequence[Space]) -> Iterator[list[Image]]:
    """The images of a shard, a row group at a time. Raises `FailedPrecondition` EXPORT_DAMAGED naming the shard."""
    with _parquet_of(files, shard) as parquet:
        for group in range(parquet.num_row_groups):
            yield _images(parquet.read_row_group(group), spaces)


def damaged(name: str, problem: str) -> FailedPrecondition:
    return FailedPrecondition(f"{name} is damaged: {' '.join(problem.split())[:300]}", reason="EXPORT_DAMAGED")


@contextmanager
def _parquet_of(files: Artifacts, shard: Shard) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with files.open_read(shard.name) as stream:
            yield pq.ParquetFile(stream, page_checksum_verification=True)
    except NotFound as error:
        raise damaged(shard.name, "it is missing") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(shard.name, str(error)) from error


def _schema(spaces: Sequence[Space]) -> pa.Schema:
    import pyarrow as pa

    texts = [pa.field(name, pa.string()) for name in ("id", "uri", "metadata", "sha256")]
    numbers = [pa.field("revision", pa.int64()), pa.field("indexed_at", pa.timestamp("us", "UTC"))]
    vectors = [pa.field(_column(space), pa.list_(pa.float32(), space.dimension)) for space in spaces]
    return pa.schema([*texts, *numbers, *vectors])


def _column(space: Space) -> str:
    return f"vector_{space.name}"


def _images(table: pa.Table, spaces: Sequence[Space]) -> list[Image]:
    facts = table.select(["id", "uri", "metadata", "sha256", "revision", "indexed_at"]).to_pylist()
    vectors = {
        space.name: table[_column(space)].combine_chunks().flatten().to_numpy().reshape(-1, space.dimension) for space in spaces
    }
    return [_image(row, {name: rows[number] for name, rows in vectors.items()}) for number, row in enumerate(facts)]


def _image(row: Mapping[str, Any], vectors: Mapping[str, Any]) -> Image:
    metadata = json.loads(row["metadata"])
    return Image(row["id"], row["uri"], metadata, row["sha256"], row["revision"], row["indexed_at"], vectors)
