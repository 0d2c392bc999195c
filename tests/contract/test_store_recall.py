"""Search over thousands of real images agrees with exact search done in NumPy, on both servers, once nothing is pending."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

import numpy as np

from lookalike import fashion_mnist
from lookalike.records.image import Consistency, StoredImage
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import HistogramSettings, Vector
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import connect
from lookalike.store.milvus.vectors import MilvusVectors
from tests.contract.store_samples import TIMEOUT_S, made, new_collection

STORED, QUERIES, TOP_K, EF = 4000, 200, 5, 64
STORED_ON_LITE, QUERIES_ON_LITE = 1000, 20
"""On milvus-lite, which searches exactly and compares a query with every vector."""
_INDEXED_WITHIN_S = 90.0
_SAME = 1e-5
"""The difference up to which distances count as equal, since float32 cannot distinguish them."""


def test_recall_at_5_is_at_least_99_percent_in_both_spaces(store_uri: str) -> None:
    histograms, features = _vectors()
    connection = connect(store_uri)
    store = MilvusVectors(connection)
    count, queries = (STORED_ON_LITE, QUERIES_ON_LITE) if connection.is_lite else (STORED, QUERIES)
    with made(MilvusCatalogue(connection), new_collection(histogram=HistogramSettings(), siamese_dimension=128)) as collection:
        stored = {"histogram": histograms[:count], "siamese": features[:count]}
        moment = datetime.datetime.now(datetime.UTC)
        for start in range(0, count, 1000):
            store.upsert(
                collection,
                [
                    StoredImage(str(n), "", {}, "", 1, moment, {name: rows[n] for name, rows in stored.items()})
                    for n in range(start, start + 1000)
                ],
            )
        assert store.count(collection, timeout_s=TIMEOUT_S) == count
        assert store.pending(collection) == (0 if connection.is_lite else 2 * count)
        store.flush(collection)
        _until_nothing_is_pending(lambda: store.pending(collection))
        for space, rows in (("histogram", histograms), ("siamese", features)):
            asked = rows[STORED : STORED + queries]
            answers = store.search(
                collection, space, asked, SearchOptions(top_k=TOP_K, ef=EF, consistency=Consistency.STRONG), timeout_s=TIMEOUT_S
            )
            found = [[int(hit.image.id) for hit in hits] for hits in answers]
            metric = collection.space(space).metric
            recall = _recall(np.stack([metric.distance(query, rows[:count]) for query in asked]), found)
            assert recall >= 0.99, f"recall@{TOP_K} in {space} is {recall:.4f} at ef {EF}"
    connection.close()


def _vectors() -> tuple[Vector, Vector]:
    """Vectors of the shipped test pictures: the 256-bin histograms, and a random projection of the pixels to 128 values."""
    pictures = fashion_mnist.load("test", fashion_mnist.SHIPPED).images[: STORED + QUERIES]
    counts = np.stack([np.bincount(picture.ravel(), minlength=256) for picture in pictures]).astype(np.float32)
    projection = np.random.default_rng(0).normal(size=(28 * 28, 128)).astype(np.float32)
    projected = (pictures.reshape(len(pictures), -1) / np.float32(255) - np.float32(0.286)) @ projection
    return counts / counts.sum(axis=1, keepdims=True), projected / np.linalg.norm(projected, axis=1, keepdims=True)


def _recall(distances: Vector, found: list[list[int]]) -> float:
    """The share of hits no farther than the true `TOP_K`-th neighbour; `distances` is `[queries, stored]`."""
    worst = np.sort(distances, axis=1)[:, TOP_K - 1]
    right = [distances[q, n] <= worst[q] + _SAME for q, hits in enumerate(found) for n in hits]
    return float(sum(right) / (TOP_K * len(found)))


def _until_nothing_is_pending(pending: Callable[[], int]) -> None:
    deadline = time.monotonic() + _INDEXED_WITHIN_S
    while rows := pending():
        assert time.monotonic() < deadline, f"{rows} rows are still pending"
        time.sleep(0.25)
