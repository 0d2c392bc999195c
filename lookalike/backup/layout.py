"""The files of an export: `collection.json` and Parquet shards of images, in one folder or prefix of an object store.

collection.json       format, the collection's name, spaces with their kinds and fingerprints, and defaults, the shards with
                      their counts, and whether the export is complete. Written again after each shard, so every shard in it is
                      whole
images-00000.parquet  id, uri, metadata (JSON), sha256, revision, indexed_at, and one column of vectors per space,
                      `vector_{space}`, a fixed-size list of float32. In order of id, over all shards
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lookalike.artifacts import Artifacts, translated
from lookalike.client import Image
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.metadata import check_metadata, read_json
from lookalike.names import MAX_METADATA_BYTES, check_id, check_name, check_prose, check_uri
from lookalike.records.collection import NO_DEFAULTS, CollectionDefaults
from lookalike.spaces import MAX_DIMENSION, MAX_SPACES, Space, Vector, vectors_problem
from lookalike.stored_spaces import defaults_from_json, from_json, to_json, with_kinds

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
_TWO_SPACES = 1
"""The format of 0.1, which is read. It has the settings of the space `histogram` and the model of the other beside the
spaces."""
DESCRIPTION = "collection.json"
ROWS_AT_ONCE = 500
"""Bounds the images of a row group, which are in memory at a time and go in one call of an import. With vectors of 256 and 256
values and the largest metadata that is 12 MB."""
_BATCH_BYTES = 12 * 1024 * 1024
MAX_DESCRIPTION_BYTES = 8 * 1024 * 1024
"""Bounds `collection.json`, to some 50,000 shards. Reading it as a whole takes twenty times its size of memory."""
_MAX_DESCRIPTION_CHARACTERS = 100_000
_MAX_METADATA_TEXT_BYTES = 4 * MAX_METADATA_BYTES
"""Bounds metadata as JSON, which has spaces and writes numbers out."""
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")
_SHA256 = re.compile(r"(?:[0-9a-f]{64})?")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of images: their number, and the last id."""

    name: str
    images: int
    last_id: str


@dataclass(frozen=True, slots=True)
class Export:
    """The content of `collection.json`. `made_at` is the time when the collection was created (ISO 8601), which distinguishes
    it from a later collection of that name."""

    name: str
    description: str
    spaces: tuple[Space, ...]
    made_at: str
    defaults: CollectionDefaults = NO_DEFAULTS
    shards: tuple[Shard, ...] = ()
    complete: bool = False

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)


def read_export(files: Artifacts) -> Export | None:
    """The export at a place; None without one. Raises `FailedPrecondition` EXPORT_DAMAGED or EXPORT_FORMAT_UNKNOWN."""
    try:
        content = files.read(DESCRIPTION, max_bytes=MAX_DESCRIPTION_BYTES)
    except NotFound:
        return None
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise damaged(DESCRIPTION, f"it is longer than {MAX_DESCRIPTION_BYTES:,} bytes")
    try:
        raw = json.loads(content)
        if raw["format"] not in (FORMAT, _TWO_SPACES):
            newer = type(raw["format"]) is int and raw["format"] > FORMAT
            problem = (
                f"{DESCRIPTION} {'was made by a newer version of lookalike' if newer else 'is of no known format'} "
                f"(format {str(raw['format'])[:20]}; this version reads 1 to {FORMAT})"
            )
            raise FailedPrecondition(problem, reason="EXPORT_FORMAT_UNKNOWN")
        if raw["format"] == _TWO_SPACES:
            raw["spaces"] = with_kinds(raw["spaces"], raw["histogram"], _text(raw, "model"))
        return Export(
            name=check_name("name", _text(raw, "name")),
            description=check_prose("description", _text(raw, "description"), _MAX_DESCRIPTION_CHARACTERS),
            spaces=_spaces(raw["spaces"]),
            made_at=_text(raw, "made_at")[:64],
            defaults=defaults_from_json(raw.get("defaults", {})),
            shards=_shards(raw["shards"]),
            complete=raw["complete"] is True,
        )
    except InvalidArgument as error:
        raise damaged(DESCRIPTION, f"{error.field} {error.problem}") from error
    except KeyError as error:
        raise damaged(DESCRIPTION, f"{error} is missing") from error
    except RecursionError as error:
        raise damaged(DESCRIPTION, "it is nested too deep") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged(DESCRIPTION, str(error)) from error


def _text(raw: Mapping[str, Any], key: str) -> str:
    if not isinstance(raw[key], str):
        raise InvalidArgument(key, "is not text")
    return str(raw[key])


def _spaces(raw: Sequence[Mapping[str, Any]]) -> tuple[Space, ...]:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_SPACES:
        raise InvalidArgument("spaces", f"is not a list of 1 to {MAX_SPACES} spaces")
    spaces = tuple(map(from_json, raw))
    for space in spaces:
        check_name("spaces.name", str(space.name))
        if type(space.dimension) is not int or not 1 <= space.dimension <= MAX_DIMENSION:
            raise InvalidArgument(
                "spaces.dimension", f"{str(space.dimension)[:40]} is out of range; 1 to {MAX_DIMENSION} are allowed"
            )
        if not isinstance(space.fingerprint, str) or not _FINGERPRINT.fullmatch(space.fingerprint):
            raise InvalidArgument("spaces.fingerprint", "is not a fingerprint (8 to 64 hex digits)")
    if len({space.name for space in spaces}) < len(spaces):
        raise InvalidArgument("spaces", "names a space twice")
    return spaces


def _shards(raw: Sequence[Mapping[str, Any]]) -> tuple[Shard, ...]:
    if not isinstance(raw, list):
        raise InvalidArgument("shards", "is not a list")
    shards = tuple(Shard(**shard) for shard in raw)
    for shard in shards:
        if not isinstance(shard.name, str) or not _SHARD_NAME.fullmatch(shard.name):
            raise InvalidArgument("shards.name", f"{str(shard.name)[:80]!r} is not the name of a file in the export")
        if type(shard.images) is not int or shard.images < 1:
            raise InvalidArgument("shards.images", f"of {shard.name} is not a number of images")
        check_id("shards.last_id", shard.last_id if isinstance(shard.last_id, str) else "")
    if len({shard.name for shard in shards}) < len(shards):
        raise InvalidArgument("shards", "names a file twice")
    return shards


def write_export(files: Artifacts, export: Export) -> None:
    """Write `collection.json` as a whole. Raises `FailedPrecondition` EXPORT_TOO_MANY_FILES where it would be too long to read
    again."""
    spaces = [to_json(space) for space in export.spaces]
    content = json.dumps({"format": FORMAT, **asdict(export), "spaces": spaces}, indent=2).encode()
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise FailedPrecondition(
            f"an export of {len(export.shards):,} files cannot be read again; "
            "export to an empty place with a larger --shard-images",
            reason="EXPORT_TOO_MANY_FILES",
        )
    files.write(DESCRIPTION, content)


def rows_at_once(spaces: Sequence[Space]) -> int:
    """Images per row group; fewer for long vectors."""
    return max(1, min(ROWS_AT_ONCE, _BATCH_BYTES // sum(4 * space.dimension for space in spaces)))


@contextmanager
def shard_writer(files: Artifacts, name: str, spaces: Sequence[Space]) -> Iterator[ShardWriter]:
    """A writer of a shard. The shard exists as a whole after the block ends without an error, and not at all otherwise."""
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
            "metadata": [_metadata_text(image) for image in images],
            "sha256": [image.sha256 for image in images],
            "revision": [image.revision for image in images],
            "indexed_at": [image.index_time for image in images],
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
            self._parquet.close()  # Before its file goes; the garbage collector would make it write its footer.
        except (OSError, ValueError, pa.ArrowException):
            return


def check_shard(files: Artifacts, shard: Shard, spaces: Sequence[Space]) -> None:
    """Check a shard's footer. Raises `FailedPrecondition` EXPORT_DAMAGED where it contradicts `collection.json`."""
    with _parquet_of(files, shard) as (parquet, _):
        if parquet.metadata.num_rows != shard.images:
            raise damaged(shard.name, f"it holds {parquet.metadata.num_rows} images instead of {shard.images}")
        there = list(parquet.schema_arrow)
        wrong = [field.name for field in _schema(spaces) if there.count(field) != 1]
        if wrong:
            raise damaged(shard.name, f"column {wrong[0]} is missing, doubled or of another type")


def read_shard(files: Artifacts, shard: Shard, spaces: Sequence[Space]) -> Iterator[list[Image]]:
    """The images of a shard, `rows_at_once` at a time. Raises `FailedPrecondition` EXPORT_DAMAGED naming the shard."""
    from lookalike.listing.parquet_pages import rows_at_once as readable_rows

    with _parquet_of(files, shard) as (parquet, stream):
        names = [field.name for field in _schema(spaces)]
        columns = [
            column
            for column in range(parquet.metadata.num_columns)
            if parquet.metadata.schema.column(column).path.partition(".")[0] in names
        ]
        for group in range(parquet.num_row_groups):
            at_once = min(rows_at_once(spaces), readable_rows(stream, parquet, group, columns))
            for batch in parquet.iter_batches(at_once, row_groups=[group], columns=names, use_threads=False):
                yield _images(batch, spaces, shard.name)


def damaged(name: str, problem: str) -> FailedPrecondition:
    return FailedPrecondition(f"{name} is damaged: {' '.join(problem.split())[:300]}", reason="EXPORT_DAMAGED")


@contextmanager
def _parquet_of(files: Artifacts, shard: Shard) -> Iterator[tuple[Any, IO[bytes]]]:
    """The file and its stream, after a check of its footer."""
    import pyarrow as pa

    from lookalike.listing.parquet_pages import open_checked

    try:
        with files.open_read(shard.name) as stream:
            yield open_checked(stream, page_checksum_verification=True), stream
    except NotFound as error:
        raise damaged(shard.name, "it is missing") from error
    except InvalidArgument as error:
        raise damaged(shard.name, error.problem) from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(shard.name, str(error)) from error


def _schema(spaces: Sequence[Space]) -> pa.Schema:
    import pyarrow as pa

    texts = [pa.field(name, pa.string()) for name in ("id", "uri", "metadata", "sha256")]
    numbers = [pa.field("revision", pa.int64()), pa.field("indexed_at", pa.timestamp("us", "UTC"))]
    vectors = [pa.field(_column(space), pa.list_(pa.float32(), space.dimension)) for space in spaces]
    return pa.schema([*texts, *numbers, *vectors])


def _metadata_text(image: Image) -> str:
    """Raises `FailedPrecondition` where it holds a value that this version does not know."""

    def refused(_value: object) -> None:
        raise FailedPrecondition(
            f"image {image.id!r} has metadata that this version of lookalike does not know; use a newer one"
        )

    return json.dumps(dict(image.metadata), ensure_ascii=False, default=refused)


def _column(space: Space) -> str:
    return f"vector_{space.name}"


def _images(batch: pa.RecordBatch, spaces: Sequence[Space], shard: str) -> list[Image]:
    facts = batch.select(["id", "uri", "metadata", "sha256", "revision", "indexed_at"]).to_pylist()
    vectors = {space.name: _vectors(batch.column(_column(space)), space, shard) for space in spaces}
    return [_image(row, {name: rows[number] for name, rows in vectors.items()}, shard) for number, row in enumerate(facts)]


def _vectors(column: pa.FixedSizeListArray, space: Space, shard: str) -> Vector:
    """float32 `[n, dimension]`. Raises `FailedPrecondition` EXPORT_DAMAGED where a vector is missing or cannot be compared."""
    flat = column.flatten()
    if column.null_count or flat.null_count:
        raise damaged(shard, f"a vector of space {space.name} is missing")
    vectors: Vector = flat.to_numpy().reshape(-1, space.dimension)
    if problem := vectors_problem(vectors, space.metric):
        raise damaged(shard, f"a vector of space {space.name} {problem}")
    return vectors


def _image(row: Mapping[str, Any], vectors: Mapping[str, Any], shard: str) -> Image:
    """The image of a row. Raises `FailedPrecondition` EXPORT_DAMAGED, naming the image, for values that cannot be stored."""
    image_id = row["id"] or ""
    try:
        check_id("id", image_id)
        check_uri("uri", row["uri"] or "")
        if len((row["metadata"] or "").encode()) > _MAX_METADATA_TEXT_BYTES:
            raise InvalidArgument("metadata", f"is longer than {_MAX_METADATA_TEXT_BYTES:,} bytes")
        metadata = read_json(row["metadata"] or "")
        if not isinstance(metadata, dict):
            raise InvalidArgument("metadata", "is not a JSON object")
        check_metadata(metadata)
        if not _SHA256.fullmatch(row["sha256"] or ""):
            raise InvalidArgument("sha256", "is not a SHA-256")
    except InvalidArgument as error:
        raise damaged(shard, f"{error.field} of image {image_id[:80]!r} {error.problem}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(shard, f"metadata of image {image_id[:80]!r} is not JSON, or nested too deep") from error
    return Image(image_id, row["uri"] or "", metadata, row["sha256"] or "", row["revision"] or 0, row["indexed_at"], vectors)
