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

from embedder.bundle import SHIPPED
from lookalike.client import Client
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Vector
from lookalike.store.catalogue import Catalogue
from lookalike.store.collection import Collection
from lookalike.store.connection import connect
from lookalike.store.schema import FACTS, VECTOR
from lookalike.store.vectors import StoredImage, VectorStore
from tests.servers.fleet import Fleet, fleet
from tests.servers.milvus import RealServer

FASHION, PHOTO = "fashion", "photo"
"""Models, and the collections made with them."""
TOP_K, EF = 10, 64
"""Neighbours of every query, and the breadth that the gateway chooses for so many."""
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
_FEW_BINS = 8
"""The photographs' histograms are never searched: they take as little room as they can."""


@dataclass(frozen=True)
class System:
    """Everything running. `milvus` speaks to Milvus past all of our code.

    `vectors` are those of the space `siamese` in each collection, float32 `[n, dimension]`, `ids` in the same order.
    """

    fleet: Fleet
    milvus_process: psutil.Process
    client: Client
    milvus: MilvusClient
    store: VectorStore
    catalogue: Catalogue
    vectors: dict[str, Vector] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)

    def collection(self, name: str) -> Collection:
        return self.catalogue.get(name)

    def search_alone(self, name: str, vector: Vector) -> list[str]:
        """Ids of the nearest by pymilvus alone, asked for the same as the gateway asks for."""
        collection = self.collection(name)
        (hits,) = self.milvus.search(
            collection.physical(SIAMESE),
            data=[vector],
            anns_field=VECTOR,
            limit=TOP_K,
            output_fields=list(FACTS),
            search_params={"metric_type": collection.space(SIAMESE).metric.value, "params": {"ef": EF}},
            consistency_level="Bounded",
            timeout=TIMEOUT_S,
        )
        return [hit["id"] for hit in hits]

    def until_indexed(self, name: str) -> None:
        """Return when every row of the collection is searched by its index."""
        deadline_s = time.monotonic() + _INDEXED_WITHIN_S
        while rows := self.store.pending(self.collection(name)):
            assert time.monotonic() < deadline_s, f"{rows} rows of {name} are not indexed"
            time.sleep(0.5)

    def write_photo(self, vectors: Vector) -> None:
        """Make the collection of photographs, of which there are only vectors."""
        self.client.create_collection(PHOTO, model=PHOTO, histogram=HistogramSettings(bins=_FEW_BINS), timeout_s=TIMEOUT_S)
        self.vectors[PHOTO], self.ids[PHOTO] = vectors, [f"photo-{number:07d}" for number in range(len(vectors))]
        flat, now = np.full(_FEW_BINS, 1 / _FEW_BINS, np.float32), datetime.now(UTC)
        images = (
            StoredImage(image_id, f"made-up/{image_id}", {}, "", 1, now, {HISTOGRAM: flat, SIAMESE: vector})
            for image_id, vector in zip(self.ids[PHOTO], vectors, strict=True)
        )
        while some := [image for image, _ in zip(images, range(1000), strict=False)]:
            self.store.upsert(self.collection(PHOTO), some, timeout_s=TIMEOUT_S)
        self.store.flush(self.collection(PHOTO))

    def read_fashion(self, ids: list[str]) -> None:
        """Read back what a job has written under `ids`."""
        collection, found = self.collection(FASHION), list[Vector]()
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            some = ids[start : start + _ROWS_AT_ONCE]
            images = self.store.get(collection, some, spaces=[SIAMESE], timeout_s=TIMEOUT_S)
            found += [images[image_id].vectors[SIAMESE] for image_id in some]
        self.vectors[FASHION], self.ids[FASHION] = np.stack(found), ids


@contextmanager
def running(folder: Path) -> Iterator[System]:
    """The whole system in `folder`, with both shipped models."""
    (folder / "milvus").mkdir()
    server = RealServer(folder / "milvus")
    with ExitStack() as ends:
        ends.callback(server.kill)
        server.start()
        assert server.process is not None
        models = (SHIPPED / FASHION, SHIPPED / PHOTO)
        processes = ends.enter_context(fleet(folder / "fleet", server.uri, models=models, worker_settings=_WORKER))
        client = ends.enter_context(processes.client())
        connection = connect(server.uri)
        ends.callback(connection.close)
        milvus = MilvusClient(server.uri)
        ends.callback(milvus.close)
        process = psutil.Process(server.process.pid)
        yield System(processes, process, client, milvus, VectorStore(connection), Catalogue(connection))
