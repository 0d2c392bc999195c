"""A collection of three spaces, and collections of one, on the whole system: from create to delete."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from lookalike.artifacts import Artifacts
from lookalike.backup.exporting import export_collection
from lookalike.backup.importing import import_collection
from lookalike.client import (
    Client,
    Collection,
    Consistency,
    HistogramSettings,
    Image,
    IngestOptions,
    JobState,
    ModelSettings,
    NearDuplicatePolicy,
    SpaceSpec,
    UploadItem,
    UploadSource,
)
from lookalike.demo import dataset
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.local.system import LocalSystem
from tests.servers.stack import Stack

COUNT = 60
QUERY = 7
"""A picture that is stored, and asked with."""
THREE = (
    SpaceSpec("histogram", HistogramSettings(bins=16, grid=2)),
    SpaceSpec("photo", ModelSettings("plain")),
    SpaceSpec("fashion", ModelSettings("fashion")),
)
NAMES = tuple(spec.name for spec in THREE)


@pytest.fixture(scope="module")
def client(stack_on_milvus: LocalSystem) -> Iterator[Client]:
    with Client(stack_on_milvus.grpc_target) as client:
        yield client


@pytest.fixture(scope="module")
def gallery() -> dataset.Pictures:
    return dataset.split()[0]


def ingested(client: Client, name: str, gallery: dataset.Pictures, options: IngestOptions | None = None) -> Collection:
    items = [UploadItem(f"{n:03d}", content=gallery.png(n), metadata={"label": gallery.label(n)}) for n in range(COUNT)]
    source = UploadSource(client.upload(name, items).id)
    *_, job = client.watch_job(client.create_ingest_job(name, source, options=options or IngestOptions()).id, patience_s=60)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, COUNT), job.error
    return client.get_collection(name)


def stored(client: Client, name: str) -> dict[str, Image]:
    images = client.list_images(name, view="full", consistency=Consistency.STRONG, page_size=1000)
    return {image.id: image for image in images}


def check_searches(client: Client, collection: Collection, gallery: dataset.Pictures) -> None:
    """A search in each space finds the nearest by the stored vectors, and one in all is the mean of their similarities."""
    images = stored(client, collection.name)
    similarities = {}
    for space in collection.spaces:
        vectors = np.stack([images[image_id].vectors[space.name] for image_id in sorted(images)])
        distances = space.metric.distance(vectors, images[f"{QUERY:03d}"].vectors[space.name])
        similarities[space.name] = np.array([space.metric.similarity(float(distance)) for distance in distances])
    for spaces in (*([space.name] for space in collection.spaces), [space.name for space in collection.spaces]):
        answer = client.search(
            collection.name, image=gallery.png(QUERY), spaces=spaces, top_k=10, consistency=Consistency.STRONG
        )
        assert [space.name for space in answer.spaces] == spaces
        found = {hit.image.id: hit.similarity for hit in answer.neighbours}
        assert answer.neighbours[0].image.id == f"{QUERY:03d}"
        expected = np.mean([similarities[name] for name in spaces], axis=0)
        assert list(found.values()) == pytest.approx(sorted(expected, reverse=True)[:10], abs=1e-3)
        assert all(len(hit.shares) == len(spaces) for hit in answer.neighbours)


def test_three_spaces_are_ingested_searched_fused_re_embedded_exported_imported_and_deleted(
    client: Client, gallery: dataset.Pictures, tmp_path: Path
) -> None:
    made = client.create_collection("three", spaces=THREE)
    assert [(space.name, space.kind) for space in made.spaces] == [(spec.name, spec.kind) for spec in THREE]
    before = ingested(client, "three", gallery, IngestOptions(near_duplicates=NearDuplicatePolicy.LINK))
    check_searches(client, before, gallery)
    (default,) = client.search("three", image=gallery.png(QUERY)).spaces
    assert default.name == "photo", "the first space of a model, where there is no `siamese`"
    vectors = stored(client, "three")

    job_id = client.reembed_collection("three", space="photo", model="fashion", grace=timedelta(seconds=600), force=True)
    *_, job = client.watch_job(job_id, patience_s=60)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, COUNT), job.error
    assert job.comparison is not None
    assert job.comparison.space == "photo"
    after = client.get_collection("three")
    assert [space.model for space in after.spaces] == ["", "fashion", "fashion"]
    assert (after.spaces[0], after.spaces[2]) == (before.spaces[0], before.spaces[2])
    now = stored(client, "three")
    assert now.keys() == vectors.keys()
    for image_id, image in now.items():
        for name in ("histogram", "fashion"):
            np.testing.assert_array_equal(image.vectors[name], vectors[image_id].vectors[name])
        np.testing.assert_allclose(image.vectors["photo"], image.vectors["fashion"], atol=1e-6)
        assert np.abs(image.vectors["photo"] - vectors[image_id].vectors["photo"]).max() > 1e-3
    check_searches(client, after, gallery)

    files = Artifacts(tmp_path.as_uri())
    assert export_collection(client, "three", files, shard_images=25, done=lambda _: None).images == COUNT
    assert import_collection(client, files, "three_again", done=lambda _: None).sent == COUNT
    again = client.get_collection("three_again")
    assert (again.spaces, again.image_count) == (after.spaces, COUNT)
    for image_id, image in stored(client, "three_again").items():
        for name in NAMES:
            np.testing.assert_array_equal(image.vectors[name], now[image_id].vectors[name])
    fused = client.search("three_again", image_id=f"{QUERY:03d}", spaces=NAMES, consistency=Consistency.STRONG)
    assert [len(hit.shares) for hit in fused.neighbours] == [3] * 5

    assert client.delete_images("three", [f"{QUERY:03d}"]).deleted == 1
    assert client.rollback_collection("three").spaces == before.spaces
    assert f"{QUERY:03d}" not in stored(client, "three")
    for name in ("three", "three_again"):
        client.delete_collection(name)
        with pytest.raises(NotFound):
            client.get_collection(name)


@pytest.mark.parametrize("spec", [THREE[0], THREE[2]], ids=["a histogram", "a model"])
def test_one_space_is_enough(stack: Stack, gallery: dataset.Pictures, tmp_path: Path, spec: SpaceSpec) -> None:
    with stack.client() as client:
        client.create_collection("one", spaces=spec)
        one = ingested(client, "one", gallery)
        check_searches(client, one, gallery)
        (default,) = client.search("one", image=gallery.png(QUERY)).spaces
        assert default.name == spec.name
        if isinstance(spec.kind, HistogramSettings):
            with pytest.raises(InvalidArgument, match="no space that a model fills"):
                ingested(client, "one", gallery, IngestOptions(near_duplicates=NearDuplicatePolicy.SKIP))
            with pytest.raises(InvalidArgument, match="which no model fills"):
                client.reembed_collection("one", model="fashion")
        with pytest.raises(FailedPrecondition, match="already has the version"):
            client.reembed_collection("one")
        files = Artifacts(tmp_path.as_uri())
        export_collection(client, "one", files, done=lambda _: None)
        client.delete_collection("one")
        assert import_collection(client, files, done=lambda _: None).sent == COUNT
        check_searches(client, client.get_collection("one"), gallery)
        client.delete_collection("one")
