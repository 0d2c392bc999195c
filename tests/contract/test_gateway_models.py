"""A collection keeps the version of the model that it was made with, whatever its name comes to mean."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from embedder.models.bundle import Bundle
from embedder.registry.record import Change
from embedder.registry.registry import Registry
from lookalike.client import Client, Collection, Consistency, JobState, UploadItem, UploadSource
from lookalike.errors import BadImage, FingerprintMismatch, NotFound, Unavailable
from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1.embedder_service_pb2_grpc import EmbedderServiceStub
from tests.contract.gateway_collections import picture
from tests.servers.embedder import random_bundle
from tests.servers.processes import until
from tests.servers.stack import Stack

MODEL = "wardrobe"
BEFORE, AFTER = "models_before", "models_after"


def a_version(number: int) -> Bundle:
    base = random_bundle(MODEL)
    return replace(base, weights=(base.weights[0] + number, *base.weights[1:]))


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client
        for name in (BEFORE, AFTER):
            try:
                client.delete_collection(name)
            except NotFound:
                continue


def promote(stack: Stack, bundle: Bundle) -> None:
    """Promote, and wait until the embedder has taken it up."""
    registry = Registry(str(stack.inside.data / "models"))
    change = Change("promote", bundle.fingerprint, datetime.now(UTC), "me")
    registry.promote(bundle, change, over=registry.find(MODEL))
    with open_channel(f"127.0.0.1:{stack.inside.system.ports.embedder}") as channel:
        stub = EmbedderServiceStub(channel)

        def current() -> bool:
            models = stub.ListModels(messages.ListModelsRequest(), timeout=10).models
            return any(model.current and model.fingerprint == bundle.fingerprint for model in models)

        until(current, f"{MODEL}@{bundle.fingerprint} is current", timeout_s=60)


def fingerprint(collection: Collection) -> str:
    return next(space.fingerprint for space in collection.spaces if space.name == "siamese")


def ingest(client: Client, name: str, numbers: range) -> None:
    upload = client.upload(name, [UploadItem(id=str(number), content=picture(number)) for number in numbers])
    *_, job = client.watch_job(client.create_ingest_job(name, UploadSource(upload.id)).id)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, len(numbers)), job


def nearest(client: Client, name: str, number: int) -> tuple[str, float, np.ndarray]:
    found = client.search(
        name, image=picture(number), top_k=1, spaces=("siamese",), consistency=Consistency.STRONG, include_query_vectors=True
    )
    (hit,) = found.neighbours
    assert hit.distance is not None
    return hit.image.id, hit.distance, found.query_vectors["siamese"]


def test_a_collection_made_before_a_promotion_answers_with_its_version_and_one_made_after_with_the_new(
    stack: Stack, client: Client
) -> None:
    first, second = a_version(1), a_version(2)
    promote(stack, first)
    before = client.create_collection(BEFORE, model=MODEL)
    assert (before.spaces[1].model, fingerprint(before)) == (MODEL, first.fingerprint)
    ingest(client, BEFORE, range(8))

    promote(stack, second)
    after = client.create_collection(AFTER, model=MODEL)
    assert (after.spaces[1].model, fingerprint(after)) == (MODEL, second.fingerprint)
    ingest(client, AFTER, range(8))
    # What was there goes on: searched by picture, and filled with more of them.
    ingest(client, BEFORE, range(8, 12))
    assert fingerprint(client.get_collection(BEFORE)) == first.fingerprint
    vectors = {}
    for name, number in ((BEFORE, 10), (BEFORE, 3), (AFTER, 3)):
        found, distance, vectors[name] = nearest(client, name, number)
        assert found == str(number)
        assert distance == pytest.approx(0, abs=1e-4)
    assert np.abs(vectors[BEFORE] - vectors[AFTER]).max() > 1e-3, "the two versions do not see the same"

    # Retired in spite of its collection: that one says what is missing, the other one answers on.
    registry = Registry(str(stack.inside.data / "models"))
    registry.retire(registry.get(MODEL), Change("retire", first.fingerprint, datetime.now(UTC), "me", forced=True))
    new_pictures = itertools.count(100)
    until(lambda: _refusal(client, BEFORE, next(new_pictures)), "the retired version has left", timeout_s=60)
    refusal = _refusal(client, BEFORE, next(new_pictures))
    assert refusal is not None
    assert (refusal.metadata["expected"], refusal.metadata["actual"]) == (first.fingerprint, second.fingerprint)
    assert nearest(client, AFTER, 3)[0] == "3"
    # What was asked for lately needs no embedder; and it is still what that version saw.
    found, distance, vector = nearest(client, BEFORE, 3)
    assert found == "3"
    assert distance == pytest.approx(0, abs=1e-4)
    np.testing.assert_array_equal(vector, vectors[BEFORE])


def _refusal(client: Client, name: str, number: int) -> FingerprintMismatch | None:
    try:
        nearest(client, name, number)
    except FingerprintMismatch as error:
        return error
    except BadImage:  # A tower of random weights sees nothing in some pictures.
        return None
    return None


def test_a_model_that_nobody_has_is_not_found_and_one_being_loaded_unavailable(stack: Stack, client: Client) -> None:
    with pytest.raises(NotFound, match="no_such_model"):
        client.create_collection(BEFORE, model="no_such_model")
    registry, bundle = Registry(str(stack.inside.data / "models")), replace(random_bundle("damaged"), weights=())
    registry.promote(bundle, Change("promote", bundle.fingerprint, datetime.now(UTC), "me"), over=registry.find("damaged"))
    with pytest.raises(Unavailable, match="damaged"):
        client.create_collection(BEFORE, model="damaged")
