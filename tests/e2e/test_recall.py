"""Real pictures through the whole path: search through the gateway agrees with exact search over the stored vectors, the tuner
finds the same without looking into the store, and all 9,000 (`make recall`) give the classes as well as the demo promises.

On milvus-lite and on the real Milvus (HNSW), after the job's flush, with every row indexed and none pending.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lookalike.client import Client, JobState, ManifestSource
from lookalike.demo import dataset
from lookalike.demo.measure import Measured, measure
from lookalike.demo.report import surprises
from lookalike.local.ports import HOST
from lookalike.local.system import LocalSystem
from lookalike.records.collection import Collection
from lookalike.spaces import Vector
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import connect
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.tuning import tune
from tests.servers.stack import Stack

QUERIES, TOP_K, THREADS = 200, 5, 4
"""The searches of the long version; the short one asks half of them, so that one miss of 500 hits is 0.002."""
TUNED_WITH = 50
DEFAULT_EF = 64
SOME = 1200
"""Pictures of the short version, in which recall is measured and what the demo promises of all 9,000 is not. Milvus makes no
index of fewer than 1,024."""
SOME_ON_LITE = 300
"""The same on milvus-lite, which searches exactly however many there are."""
TIED = 1e-5
"""The difference up to which distances count as equal, since float32 cannot distinguish them."""
COLLECTION = "recall"
_INDEXED_WITHIN_S = 120.0


pytestmark = pytest.mark.timeout(400)
some_and_whole = pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)], ids=["some", "whole"])


@some_and_whole
def test_on_milvus_lite_the_gateway_agrees_with_exact_search_and_finds_what_the_demo_promises(
    stack: Stack, whole: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    system = stack.inside.system
    agrees(system, f"http://{HOST}:{system.ports.milvus}", None if whole else SOME_ON_LITE, capsys)


@some_and_whole
def test_on_milvus_the_gateway_agrees_with_exact_search_and_finds_what_the_demo_promises(
    stack_on_milvus: LocalSystem, milvus_uri: str, whole: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    agrees(stack_on_milvus, milvus_uri, None if whole else SOME, capsys)


def agrees(system: LocalSystem, milvus_uri: str, some: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Measure it with all pictures, or the first `some`."""
    gallery, queries = dataset.split()
    whole = some is None
    if some is not None:
        gallery = first(gallery, some)
    manifest = dataset.write_files(gallery, Path(system.config.source_roots[0]) / f"{COLLECTION}-{len(gallery)}")
    server = "milvus-lite" if system.config.milvus_uri is None else "milvus"
    with Client(system.grpc_target) as client:
        client.create_collection(COLLECTION, model="fashion")
        *_, job = client.watch_job(client.create_ingest_job(COLLECTION, ManifestSource(str(manifest))).id)
        assert job.state is JobState.SUCCEEDED
        assert (job.counts.submitted, job.counts.indexed) == (len(gallery), len(gallery))
        ids = [gallery.id(index) for index in range(len(gallery))]
        with _stored(milvus_uri, ids) as stored:
            for space, vectors in stored.items():
                recall, ef = _recall(client, space, vectors, ids, queries if whole else first(queries, QUERIES // 2))
                with capsys.disabled():
                    print(f"\n  recall@{TOP_K} on {server}, {space}, ef {ef}: {recall:.4f}", end="")
                assert recall >= 0.99
        tuned = tune(client, COLLECTION, recall=0.99, k=TOP_K, queries=TUNED_WITH)
        for one in tuned.spaces:
            steps = ", ".join(f"{step.ef}: {step.recall:.4f} in {step.median_s * 1e3:.1f} ms" for step in one.steps)
            with capsys.disabled():
                print(f"\n  tuned on {server}, {one.space}, ef {steps}", end="")
            if tuned.exact:
                assert one.ef is None, "no breadth changes anything"
            else:
                assert one.ef is not None
                assert one.ef <= DEFAULT_EF, "what a search is given without asking is enough"
        if whole:
            measured = _precision(client, queries)
            with capsys.disabled():
                print("".join(f"\n  P@{TOP_K} of {one.way}: {one.precision_at_5:.3f}" for one in measured), end="")
            assert surprises(measured) == []
        client.delete_collection(COLLECTION)


def _recall(client: Client, space: str, stored: Vector, ids: list[str], queries: dataset.Pictures) -> tuple[float, int]:
    """The share of hits that are no farther than the true fifth neighbour, and the `ef` that was used."""
    place = {image_id: index for index, image_id in enumerate(ids)}
    right = 0
    asked = min(len(queries), QUERIES)
    for index in range(asked):
        answer = client.search(
            COLLECTION, image=queries.png(index), spaces=[space], top_k=TOP_K, include_query_vectors=True, timeout_s=30
        )
        (known,) = answer.spaces
        distances = known.metric.distance(stored, answer.query_vectors[space])
        worst = np.sort(distances)[TOP_K - 1]
        assert [hit.rank for hit in answer.neighbours] == [1, 2, 3, 4, 5]
        for hit in answer.neighbours:
            exact = float(distances[place[hit.image.id]])
            assert hit.distance == pytest.approx(exact, abs=1e-3)
            right += exact <= worst + TIED
    return right / (asked * TOP_K), answer.ef


def _precision(client: Client, queries: dataset.Pictures) -> list[Measured]:
    """What the demo measures, over the first `QUERIES` queries.

    Pictures and weights are fixed and search is as good as exact here, so the figures do not scatter: they are 0.390 and 0.949
    (over all 1,000: 0.390 and 0.947). The demo's bounds hold for the part as for the whole, with 30 hits to spare at least.
    """
    few = first(queries, QUERIES)
    return [measure(client, COLLECTION, few, way, threads=THREADS, done=lambda: None) for way in ("histogram", "siamese")]


def first(pictures: dataset.Pictures, count: int) -> dataset.Pictures:
    return dataset.Pictures(pictures.images[:count], pictures.labels[:count], pictures.numbers[:count])


@contextmanager
def _stored(uri: str, ids: list[str]) -> Iterator[dict[str, Vector]]:
    """The vectors of every space as the server holds them, in order of `ids`, once nothing is pending."""
    connection = connect(uri)
    collection = MilvusCatalogue(connection).get(COLLECTION, fresh=True)
    store = MilvusVectors(connection)
    _until_nothing_is_pending(store, collection)
    names = [space.name for space in collection.spaces]
    found: dict[str, Any] = {}
    for start in range(0, len(ids), 500):
        found |= store.get(collection, ids[start : start + 500], spaces=names, timeout_s=60)
    assert sorted(found) == sorted(ids)
    yield {name: np.stack([found[image_id].vectors[name] for image_id in ids]) for name in names}
    connection.close()


def _until_nothing_is_pending(store: MilvusVectors, collection: Collection) -> None:
    deadline = time.monotonic() + _INDEXED_WITHIN_S
    while rows := store.pending(collection):
        assert time.monotonic() < deadline, f"{rows} rows are still pending"
        time.sleep(0.25)
