"""A collection is re-embedded with another model while it is searched, written and deleted from, and its worker is killed.

On the whole system with the real Milvus: no search fails, no answer mixes two models, nothing that was written is missing.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest

from lookalike.client import (
    Client,
    Collection,
    Consistency,
    Image,
    IngestOptions,
    JobState,
    UploadItem,
    UploadSource,
)  # fmt: skip
from lookalike.demo import dataset
from lookalike.errors import LookalikeError
from lookalike.local.system import LocalSystem
from lookalike.spaces import Vector
from tests.servers.processes import until

COLLECTION = "reembedded"
COUNT = 600
WRITTEN, DELETED = range(10), range(20, 30)
"""Pictures that are replaced by others, and that are deleted, while the job runs."""
SPACE = "siamese"
_PAUSE_S = 0.1
"""Between two searches: what is embedded anew and started again needs the processor as well."""


@dataclass
class Searcher:
    """A caller that searches all the while, and notes the fingerprint of each answer."""

    client: Client
    queries: dataset.Pictures
    fingerprints: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Searcher:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._thread.join(30)

    def _run(self) -> None:
        number = 0
        while not self.stopped.wait(_PAUSE_S):
            number = (number + 1) % len(self.queries)
            try:
                self._search(number)
            except LookalikeError as error:
                self.problems.append(f"{type(error).__name__}: {error}")

    def _search(self, number: int) -> None:
        answer = self.client.search(
            COLLECTION,
            image=self.queries.png(number),
            spaces=[SPACE],
            top_k=5,
            view="full",
            include_query_vectors=True,
            timeout_s=30,
        )
        self.fingerprints.append(answer.spaces[0].fingerprint)
        for hit in answer.neighbours:
            # Of two models the distance would not be that of the two vectors shown.
            distance = 1 - float(hit.image.vectors[SPACE] @ answer.query_vectors[SPACE])
            if hit.distance is None or abs(hit.distance - distance) > 1e-3:
                self.problems.append(f"{hit.image.id}: {hit.distance} is not {distance}")


@pytest.mark.timeout(300)
def test_searches_answer_and_writes_stay_while_a_collection_is_embedded_anew(stack_on_milvus: LocalSystem) -> None:
    gallery, queries = dataset.split()
    target = stack_on_milvus.grpc_target
    with Client(target) as client, Client(target) as other:
        client.create_collection(COLLECTION, model="fashion")
        ingest(client, [UploadItem(f"{n:05d}", content=gallery.png(n)) for n in range(COUNT)])
        before = client.get_collection(COLLECTION)
        with Searcher(other, queries) as searcher:
            until(lambda: len(searcher.fingerprints) >= 5, "somebody searches")
            job_id = client.reembed_collection(COLLECTION, model="plain", grace=timedelta(minutes=10))
            until(lambda: client.get_job(job_id).chunks_done >= 1, "a chunk has been embedded anew", timeout_s=60)
            os.kill(stack_on_milvus.pids["indexer"], signal.SIGKILL)
            client.delete_images(COLLECTION, [f"{n:05d}" for n in DELETED])
            ingest(client, [UploadItem(f"{n:05d}", content=gallery.png(5000 + n)) for n in WRITTEN])
            ingest(client, [UploadItem("new", content=gallery.png(6000))])
            *_, job = client.watch_job(job_id, patience_s=60)
            assert job.state is JobState.SUCCEEDED, job.error
            after = client.get_collection(COLLECTION)
            # Within seconds: a gateway looks at the catalogue now and then.
            new = after.spaces[1].fingerprint
            until(lambda: searcher.fingerprints[-1] == new, "searches go on by the new model", timeout_s=60)
        assert searcher.problems == []
        old = before.spaces[1].fingerprint
        assert (after.spaces[1].model, after.generation, old != new) == ("plain", before.generation + 1, True)
        assert set(searcher.fingerprints) == {old, new}
        assert searcher.fingerprints == sorted(searcher.fingerprints, key=lambda one: one == new), "switched once, for all"
        assert job.comparison is not None
        assert job.comparison.overlap > 0.5
        check(client, after, gallery)

        client.rollback_collection(COLLECTION)
        back = client.get_collection(COLLECTION)
        assert (back.spaces[1].model, back.spaces[1].fingerprint) == ("fashion", old)
        check(client, back, gallery)
        client.delete_collection(COLLECTION)


def ingest(client: Client, items: list[UploadItem]) -> None:
    upload = client.upload(COLLECTION, items)
    *_, job = client.watch_job(client.create_ingest_job(COLLECTION, UploadSource(upload.id), options=IngestOptions()).id)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, len(items))


def check(client: Client, collection: Collection, gallery: dataset.Pictures) -> None:
    """The images are those that were written last, each with the vectors of the collection's own model."""
    images = {image.id: image for image in client.list_images(COLLECTION, consistency=Consistency.STRONG, page_size=1000)}
    expected = {f"{n:05d}" for n in range(COUNT) if n not in DELETED} | {"new"}
    assert set(images) == expected
    for n in (*WRITTEN, 500, COUNT - 1):
        shown = gallery.png(5000 + n if n in WRITTEN else n)
        image, query = asked(client, f"{n:05d}", shown)
        np.testing.assert_allclose(image.vectors[SPACE], query, atol=1e-3, err_msg=f"{collection.spaces[1].model} {n}")


def asked(client: Client, image_id: str, shown: bytes) -> tuple[Image, Vector]:
    """A stored image, and what the collection's model makes of `shown`."""
    image = client.get_image(COLLECTION, image_id, view="full")
    answer = client.search(COLLECTION, image=shown, spaces=[SPACE], top_k=1, include_query_vectors=True)
    return image, answer.query_vectors[SPACE]
