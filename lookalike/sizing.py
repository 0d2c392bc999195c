"""What images take in Milvus: the law by which memory and disk grow, for each index type that a cluster could use.

Pure functions of numbers; standard library only. `indexer.finishing.forecast` forecasts a job with `growth`, `lookalike sizing`
a cluster with `size`. deploy/SIZING.md compares its results with measurements.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.errors import InvalidArgument
from lookalike.spaces import MAX_DIMENSION, Space

HNSW_M = 16
HNSW_EF_CONSTRUCTION = 200
"""Links per node and breadth while building, of every index that `store.milvus` builds. With them and `ef` 64, recall@5 over
9,000 Fashion-MNIST images is at least .99 in both spaces on Milvus 2.3.5 (tests/contract/test_store_recall.py)."""

_FLOAT_BYTES = 4
_LINK_BYTES = 4
FIXED_FACTS_BYTES = 64 + 8 + 8
"""Hash, revision and time of a row."""
GIB = 2**30

DISKANN_DEGREE = 56
DISKANN_CODE_RATIO = 0.125
DISKANN_CACHE_RATIO = 0.1
"""`MaxDegree`, `PQCodeBudgetGBRatio` and `SearchCacheBudgetGBRatio` as Milvus sets them (its documentation, "On-disk Index",
and its milvus.yaml): neighbours of a node, and the memory of compressed vectors and of cached nodes beside the raw vectors."""
SECTOR_BYTES = 4096
CAGRA_DEGREE = 64
"""`graph_degree`, the default of cuVS (its `IndexParams`) and of Milvus (its documentation, "GPU Index")."""
CAGRA_RATIO = 1.8
"""GPU memory beside the raw vectors (Milvus' documentation, "GPU Index", its conclusion)."""
GPU_POOL_BYTES = 4 * GIB
"""Memory of each GPU, kept for searches: the `maxMemSize` that Milvus' documentation recommends ("Index with GPU")."""
USABLE_SHARE = 0.75
"""The share of a query node's memory that may be filled. Milvus itself stops at .9
(`queryCoord.overloadedMemoryThresholdPercentage`). The rest is our judgement: segments that are still growing, both versions of
one that is exchanged, and the work of searches."""
LOG_KEPT_S = 3 * 24 * 3600
LOG_KEPT_BYTES = 8192 * 2**20
"""Milvus keeps its log for three days, and a standalone server at most so much of each topic (`rocksmq.retentionTimeInMinutes`
4320 and `rocksmq.retentionSizeInMB` 8192 in the milvus.yaml of 2.3); a space is written to one topic."""
GARBAGE_KEPT_S = 4 * 3600
"""What compaction has replaced is deleted three hours later, by a collector that comes every hour (`dataCoord.gc.dropTolerance`
10800 and `dataCoord.gc.interval` 3600 in the milvus.yaml of 2.3)."""


class IndexType(enum.Enum):
    """Milvus' own names. The store of this project builds HNSW."""

    HNSW = "HNSW"
    HNSW_SQ = "HNSW_SQ"
    DISKANN = "DISKANN"
    GPU_CAGRA = "GPU_CAGRA"


@dataclass(frozen=True, slots=True)
class RowBytes:
    """What one row of one space takes: in a query node's memory, in a GPU's, on a query node's own disk, and in the object
    storage as `index`, beside `inserted`, the row as it was written (and as it stands in the log)."""

    memory: float
    gpu: float
    node_disk: float
    index: float
    inserted: float


@dataclass(frozen=True, slots=True)
class Size:
    """What a cluster takes, in bytes, by index type. Of all replicas: `memory_bytes`, `gpu_bytes`, `node_disk_bytes`,
    `query_nodes` and `gpus`. Once: `rows_bytes`, `index_bytes` and `headroom_bytes`, which are in the object storage, and
    `log_bytes`. `ingest_s` is the time to ingest all images, None where no rate was given."""

    index: IndexType
    memory_bytes: int
    gpu_bytes: int
    node_disk_bytes: int
    query_nodes: int
    gpus: int
    rows_bytes: int
    index_bytes: int
    headroom_bytes: int
    log_bytes: int
    ingest_s: float | None

    @property
    def storage_bytes(self) -> int:
        """Of the object storage."""
        return self.rows_bytes + self.index_bytes + self.headroom_bytes


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes that images add, once they are indexed; `passing_disk_bytes` come on top for a while."""

    memory_bytes: int
    disk_bytes: int
    passing_disk_bytes: int


def growth(spaces: Sequence[Space], images: int, facts_bytes: float) -> Growth:
    """What `images` in `spaces` take on a Milvus server with HNSW; `facts_bytes` is the mean length of id, URI and metadata.

    For a while the disk holds all of it twice, since Milvus compacts what was written into new segments, and every row once
    more in the log, of which it keeps a limited length for each space. (An empty server has some 200 MB reserved ahead.)
    """
    rows = [row_bytes(IndexType.HNSW, space.dimension, facts_bytes) for space in spaces]
    memory, disk = sum(row.memory for row in rows), sum(row.inserted + row.index for row in rows)
    log = sum(min(images * row.inserted, LOG_KEPT_BYTES) for row in rows)
    return Growth(round(images * memory), round(images * disk), round(images * disk + log))


def size(
    index: IndexType,
    images: int,
    dimensions: Sequence[int],
    *,
    facts_bytes: float,
    replicas: int = 1,
    node_bytes: int = 64 * GIB,
    gpu_bytes: int = 24 * GIB,
    rate: float | None = None,
) -> Size:
    """What `images` take that are in one space of each of `dimensions`, on Milvus' cluster.

    `facts_bytes` is the mean length of id, URI and metadata; `node_bytes` the memory of a query node, `gpu_bytes` of its GPU;
    `rate` images a second. Without `rate` the images count as written at once: all of them in the log, and all of them twice
    in the object storage while compaction replaces what was inserted. Raises `InvalidArgument` for what is out of range.
    """
    _check(images, dimensions, facts_bytes, replicas, node_bytes, gpu_bytes, rate)
    rows = [row_bytes(index, dimension, facts_bytes) for dimension in dimensions]

    def of_all(values: Sequence[float], count: float = images) -> int:
        return math.ceil(count * sum(values))

    memory, gpu = of_all([row.memory for row in rows]), of_all([row.gpu for row in rows])
    inserted, built = [row.inserted for row in rows], [row.index for row in rows]
    gpus = math.ceil(gpu / (gpu_bytes - GPU_POOL_BYTES))
    nodes = max(1, math.ceil(memory / (USABLE_SHARE * node_bytes)), gpus)
    within = [images if rate is None else min(images, rate * kept_s) for kept_s in (GARBAGE_KEPT_S, LOG_KEPT_S)]
    return Size(
        index=index,
        memory_bytes=replicas * memory,
        gpu_bytes=replicas * gpu,
        node_disk_bytes=replicas * of_all([row.node_disk for row in rows]),
        query_nodes=replicas * nodes,
        gpus=replicas * gpus,
        rows_bytes=of_all(inserted),
        index_bytes=of_all(built),
        headroom_bytes=of_all([*inserted, *built], within[0]),
        log_bytes=of_all(inserted, within[1]),
        ingest_s=None if rate is None else images / rate,
    )


def row_bytes(index: IndexType, dimension: int, facts_bytes: float) -> RowBytes:
    """What a row takes whose vector has `dimension` values; scalar fields are loaded into memory with every index type."""
    raw, facts = float(dimension * _FLOAT_BYTES), facts_bytes + FIXED_FACTS_BYTES
    inserted = raw + facts
    match index:
        case IndexType.HNSW:
            held = raw + _links_bytes()
            return RowBytes(held + facts, 0, 0, held, inserted)
        case IndexType.HNSW_SQ:
            held = dimension + _links_bytes()
            return RowBytes(held + facts, 0, 0, held, inserted)
        case IndexType.DISKANN:
            held, nodes = raw * (DISKANN_CODE_RATIO + DISKANN_CACHE_RATIO), diskann_node_bytes(dimension)
            on_disk = nodes + raw * DISKANN_CODE_RATIO
            return RowBytes(held + facts, 0, on_disk, on_disk, inserted)
        case IndexType.GPU_CAGRA:
            graph = raw + CAGRA_DEGREE * _LINK_BYTES
            return RowBytes(facts, max(CAGRA_RATIO * raw, graph), 0, graph, inserted)


def _links_bytes() -> int:
    """Of an HNSW node: 2 M links of 4 bytes on the lowest level, where nearly all of them are (faiss' wiki, "Guidelines to
    choose an index": d * 4 + M * 2 * 4 bytes a vector). With SQ8 the vector takes a byte a value beside them (Milvus'
    documentation, "HNSW_SQ"), without refinement, which would keep the raw ones too."""
    return 2 * HNSW_M * _LINK_BYTES


def diskann_node_bytes(dimension: int) -> float:
    """The bytes of a DiskANN node on the disk: the vector, the count of its neighbours and their numbers, side by side. Whole
    nodes lie in a sector of 4 KiB, or whole sectors for a larger node (Subramanya et al., "DiskANN", NeurIPS 2019: neighbours
    padded to one length and read together with the vector; that nodes do not cross sectors is how its code lays them out)."""
    node = dimension * _FLOAT_BYTES + (1 + DISKANN_DEGREE) * _LINK_BYTES
    if node > SECTOR_BYTES:
        return math.ceil(node / SECTOR_BYTES) * SECTOR_BYTES
    return SECTOR_BYTES / (SECTOR_BYTES // node)


def _check(
    images: int,
    dimensions: Sequence[int],
    facts_bytes: float,
    replicas: int,
    node_bytes: int,
    gpu_bytes: int,
    rate: float | None,
) -> None:
    if images < 1:
        raise InvalidArgument("images", f"{images} is out of range; at least 1 is needed")
    if not dimensions:
        raise InvalidArgument("dimension", "is missing; give that of each space")
    for dimension in dimensions:
        if not 1 <= dimension <= MAX_DIMENSION:
            raise InvalidArgument("dimension", f"{dimension} is out of range; 1 to {MAX_DIMENSION} are allowed")
    if not 0 <= facts_bytes < math.inf:
        raise InvalidArgument("metadata-bytes", f"{facts_bytes:g} is out of range; 0 or more are allowed")
    if replicas < 1:
        raise InvalidArgument("replicas", f"{replicas} is out of range; at least 1 is needed")
    if node_bytes < GIB:
        raise InvalidArgument("node-memory", "is too small; at least 1GiB is needed")
    if gpu_bytes <= GPU_POOL_BYTES:
        raise InvalidArgument("gpu-memory", "is too small; more than 4GiB are needed, which searches keep for themselves")
    if rate is not None and not 0 < rate < math.inf:
        raise InvalidArgument("rate", f"{rate:g} is out of range; above 0 images a second are allowed")
