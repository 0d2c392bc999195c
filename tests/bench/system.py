"""The whole system with the real Milvus, and what stands beside the gateway: pymilvus, and the embedder's own port.

Owns the processes, the connections and the vectors of the two collections. Filled and asked by the modules that `whole` puts
in order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
from pymilvus import MilvusClient

from embedder.models.bundle import SHIPPED
from lookalike.client import Client
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.runtime.call import Deadline
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Vector
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import connect
from lookalike.store.milvus.schema import FACTS, VECTOR
from lookalike.store.milvus.vectors import MilvusVectors
from tests.servers.fleet import Fleet, fleet
from tests.servers.milvus import RealServer

FASHION, PHOTO = "fashion", "photo"
"""Models, and the collections made with them."""
TOP_K, EF = 10, 64
"""The neighbours of every query, and the breadth that the gateway chooses for that number."""
TIMEOUT_S = 60.0
_WORKER = {
    "INDEXER_CONCURRENCY": "4",
    "INDEXER_LEASE_S": "15",
    "INDEXER_HEARTBEAT_S": "4",
    "INDEXER_TICK_S": "1",
    "INDEXER_DRAIN_S": "10",
}
"""A worker's defaults, in place of what tests set."""
_INDEXED_WITHIN_S = 900.0
_ROWS_AT_ONCE = 500
_WRITTEN_AT_ONCE = 1000
_FEW_BINS = 8
"""The photographs' histograms are never searched: they take as little room as they can."""


@dataclass(frozen=True)
class System:
    """Everything running. `milvus` speaks to Milvus past all of our code; `milvus_folder` holds its data.

    `vectors` are those of the space `siamese` in each collection, float32 `[n, dimension]`, `ids` in the same order.
    """

    fleet: Fleet
    milvus_process: psutil.Process
    milvus_folder: Path
    client: Client
    milvus: MilvusClient
    store: MilvusVectors
    catalogue: MilvusCatalogue
    vectors: dict[str, Vector] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)

    def collection(self, name: str) -> Collection:
        return self.catalogue.get(name)

    def search_alone(self, name: str, vector: Vector, ef: int = EF) -> list[str]:
        """Ids of the nearest by pymilvus alone, asked for the same as the gateway asks for."""
        collection = self.collection(name)
        (hits,) = self.milvus.search(
            collection.physical(SIAMESE),
            data=[vector],
            anns_field=VECTOR,
            limit=TOP_K,
            output_fields=list(FACTS),
            search_params={"metric_type": collection.space(SIAMESE).metric.value, "params": {"ef": ef}},
            consistency_level="Bounded",
            timeout=TIMEOUT_S,
        )
        return [hit["id"] for hit in hits]

    def until_indexed(self, name: str, within_s: float = _INDEXED_WITHIN_S) -> None:
        """Return when every row of the collection is searched by its index."""
        deadline_s = time.monotonic() + within_s
        while rows := self.store.pending(self.collection(name)):
            assert time.monotonic() < deadline_s, f"{rows} rows of {name} are not indexed"
            time.sleep(0.5)

    def write_photo(self, vectors: Vector) -> None:
        """Make the collection of photographs, of which there are only vectors."""
        self.create_photo()
        self.vectors[PHOTO], self.ids[PHOTO] = vectors, [photo_id(number) for number in range(len(vectors))]
        self.upsert_photo(0, vectors)
        self.store.flush(self.collection(PHOTO))

    def create_photo(self) -> None:
        """Make it, empty."""
        self.client.create_collection(PHOTO, model=PHOTO, histogram=HistogramSettings(bins=_FEW_BINS), timeout_s=TIMEOUT_S)

    def upsert_photo(self, first: int, vectors: Vector) -> None:
        """Write `vectors` to it, numbered from `first`; nothing of them is kept here."""
        collection = self.collection(PHOTO)
        flat, now = np.full(_FEW_BINS, 1 / _FEW_BINS, np.float32), datetime.now(UTC)
        for start in range(0, len(vectors), _WRITTEN_AT_ONCE):
            numbered = enumerate(vectors[start : start + _WRITTEN_AT_ONCE], first + start)
            some = [
                StoredImage(photo_id(n), f"made-up/{photo_id(n)}", {}, "", 1, now, {HISTOGRAM: flat, SIAMESE: vector})
                for n, vector in numbered
            ]
            self.store.upsert(collection, some, Deadline.after(TIMEOUT_S))

    def read_fashion(self, ids: list[str]) -> None:
        """Read back what a job has written under `ids`."""
        collection, found = self.collection(FASHION), list[Vector]()
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            some = ids[start : start + _ROWS_AT_ONCE]
            images = self.store.get(collection, some, spaces=[SIAMESE], timeout_s=TIMEOUT_S)
            found += [images[image_id].vectors[SIAMESE] for image_id in some]
        self.vectors[FASHION], self.ids[FASHION] = np.stack(found), ids


def photo_id(number: int) -> str:
    return f"photo-{number:07d}"


@contextmanager
def running(folder: Path, *, workers: int = 1) -> Iterator[System]:
    """The whole system in `folder`, with both shipped models."""
    (folder / "milvus").mkdir()
    server = RealServer(folder / "milvus", eager=False)
    with ExitStack() as ends:
        ends.callback(server.kill)
        server.start()
        assert server.process is not None
        models = (SHIPPED / FASHION, SHIPPED / PHOTO)
        processes = ends.enter_context(
            fleet(folder / "fleet", server.uri, workers=workers, models=models, worker_settings=_WORKER)
        )
        client = ends.enter_context(processes.client())
        connection = connect(server.uri)
        ends.callback(connection.close)
        milvus = MilvusClient(server.uri)
        ends.callback(milvus.close)
        process = psutil.Process(server.process.pid)
        yield System(processes, process, server.folder, client, milvus, MilvusVectors(connection), MilvusCatalogue(connection))
