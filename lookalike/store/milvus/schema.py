"""The fields and the index of a physical collection, and the conversion between an image and a row.

`catalogue` makes physical collections with it; `vectors` reads and writes them. A physical collection holds one space of one
Lookalike collection, so an image is one row in each.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client import IndexParams

from lookalike.errors import InvalidArgument
from lookalike.names import MAX_ID_BYTES, MAX_URI_BYTES
from lookalike.records.image import StoredImage
from lookalike.sizing import HNSW_EF_CONSTRUCTION, HNSW_M
from lookalike.spaces import Space, Vector
from lookalike.store.checks import SHA256_BYTES

ID, VECTOR, URI, METADATA = "id", "vector", "uri", "metadata"
SHA256, REVISION, INDEXED_AT = "sha256", "revision", "indexed_at"
FACTS = (ID, URI, METADATA, SHA256, REVISION, INDEXED_AT)
"""Every field but the vector."""

_BATCH_BYTES = 8 * 1024 * 1024
"""Bounds a request to Milvus, well below the 64 MiB that a 2.3 server accepts (`proxy.grpc.serverMaxRecvSize`)."""
_BATCH_ROWS = 1000
_ROW_BYTES = 1024
"""The size of a row without its vector, as a rule of thumb; long metadata adds to it."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def image_schema(space: Space) -> CollectionSchema:
    """The fields of a physical collection of `space`."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=MAX_ID_BYTES)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=space.dimension)
    schema.add_field(URI, DataType.VARCHAR, max_length=MAX_URI_BYTES)
    schema.add_field(METADATA, DataType.JSON)
    schema.add_field(SHA256, DataType.VARCHAR, max_length=SHA256_BYTES)
    schema.add_field(REVISION, DataType.INT64)
    schema.add_field(INDEXED_AT, DataType.INT64)
    return schema


def image_index(space: Space, *, is_lite: bool) -> IndexParams:
    """The index of a physical collection of `space`: HNSW, and none (exact search) on milvus-lite.

    milvus-lite's indexes lose hits once rows are masked by a filter, an update or a delete: of 9,000 rows and a filter that
    100 of them pass, its HNSW found 26, its IVF_FLAT of a single list 5 to 19, exact search 100.
    """
    params = MilvusClient.prepare_index_params()
    if is_lite:
        params.add_index(VECTOR, index_type="FLAT", metric_type=space.metric.value)
    else:
        params.add_index(
            VECTOR,
            index_type="HNSW",
            metric_type=space.metric.value,
            params={"M": HNSW_M, "efConstruction": HNSW_EF_CONSTRUCTION},
        )
    return params


def rows_per_write(spaces: Sequence[Space]) -> int:
    """The number of images in one request to Milvus."""
    row_bytes = _ROW_BYTES + 4 * max(space.dimension for space in spaces)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes))


def to_row(image: StoredImage, space: Space) -> dict[str, Any]:
    """The row of `image` in the physical collection of `space`, as pymilvus takes it."""
    return {
        ID: image.id,
        VECTOR: np.asarray(image.vectors[space.name], np.float32),
        URI: image.uri,
        METADATA: dict(image.metadata),
        SHA256: image.sha256,
        REVISION: image.revision,
        INDEXED_AT: to_microseconds(image.index_time),
    }


def from_row(row: Mapping[str, Any], vectors: Mapping[str, Vector] | None = None) -> StoredImage:
    """The image of a row that holds `FACTS`, or of them only the id."""
    if URI not in row:
        return StoredImage.of_id(row[ID], vectors or {})
    return StoredImage(
        id=row[ID],
        uri=row[URI],
        metadata=row[METADATA] or {},
        sha256=row[SHA256],
        revision=int(row[REVISION]),
        index_time=_EPOCH + datetime.timedelta(microseconds=int(row[INDEXED_AT])),
        vectors=vectors or {},
    )


def row_vector(row: Mapping[str, Any]) -> Vector:
    """The vector of a row, float32 `[dimension]`."""
    return np.asarray(row[VECTOR], np.float32)


def to_microseconds(moment: datetime.datetime | None) -> int:
    """`index_time` as it is stored: microseconds since 1970 in UTC. Raises `InvalidArgument` without a time zone."""
    if moment is None or moment.tzinfo is None:
        raise InvalidArgument("index_time", "is missing, or has no time zone")
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)
