"""Images with vectors of their own, and the spaces of a restored collection: what is refused, and writes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.collections.collections import Collections, NewCollection
from gateway.images.given_vectors import images_per_answer
from gateway.images.images import Images
from lookalike.errors import FingerprintMismatch, InvalidArgument, LookalikeError
from lookalike.metadata import UNKNOWN_VALUE
from lookalike.records.image import Consistency, GivenImage, GivenVector, ImageView
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Metric, ModelSettings, Space
from tests.unit.gateway.fakes import (
    MOMENT,
    NOTHING,
    SPACES,
    FakeLedger,
    MemoryBackends,
    a_call,
    few_threads,
    random_images,
)


def given(image_id: str = "a", **fields: Any) -> GivenImage:
    vectors = tuple(GivenVector(space.name, np.ones(space.dimension, np.float32), space.fingerprint) for space in SPACES)
    return replace(GivenImage(image_id, "s3://x", {"n": 1}, "e" * 64, MOMENT, vectors), **fields)


def write(backends: MemoryBackends, *images: GivenImage, last: bool = False, ledger: FakeLedger | None = None) -> int:
    core = Images(backends, ledger or FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())
    return asyncio.run(core.write_given("things", images, a_call(), last=last))


def test_images_are_written_with_their_vectors_under_the_lock_and_indexed_at_the_end() -> None:
    backends, ledger = MemoryBackends(), FakeLedger()
    assert write(backends, given("a"), given("b"), ledger=ledger) == 9
    assert ledger.log == ["lock things", "revision", "unlock"]
    assert backends.vectors.calls == ["upsert"]
    stored = backends.images["a"]
    assert (stored.uri, stored.metadata, stored.sha256, stored.revision) == ("s3://x", {"n": 1}, "e" * 64, 9)
    assert stored.index_time == MOMENT
    assert {name: vector.tolist() for name, vector in stored.vectors.items()} == {HISTOGRAM: [1.0] * 8, SIAMESE: [1.0] * 4}
    write(backends, given("c"), last=True)
    assert backends.vectors.calls == ["upsert", "upsert", "flush"]


def with_values(vector: GivenVector, value: float) -> GivenVector:
    return replace(vector, values=np.full_like(vector.values, value))


HISTOGRAM_OK, SIAMESE_OK = given().vectors
SHORT = replace(SIAMESE_OK, values=np.ones(3, np.float32))
NAN = replace(SIAMESE_OK, values=np.array([1, 2, np.nan, 4], np.float32))


@pytest.mark.parametrize(
    ("images", "error", "field"),
    [
        ([], InvalidArgument, "images"),
        ([given(str(n)) for n in range(1001)], InvalidArgument, "images"),
        ([given("a"), given("a")], InvalidArgument, "images[1].id"),
        ([given("")], InvalidArgument, "images[0].id"),
        ([given(uri="x" * 3000)], InvalidArgument, "images[0].uri"),
        ([given(sha256="E" * 64)], InvalidArgument, "images[0].sha256"),
        ([given(metadata={"x": "y" * 20_000})], InvalidArgument, "images[0].metadata"),
        ([given(metadata={"x": [{"y": 2**63}]})], InvalidArgument, "images[0].metadata.x[0].y"),
        ([given(metadata={"x": [UNKNOWN_VALUE]})], InvalidArgument, "images[0].metadata.x[0]"),
        ([given(vectors=[HISTOGRAM_OK])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[HISTOGRAM_OK, SIAMESE_OK, SIAMESE_OK])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[HISTOGRAM_OK, SHORT])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[HISTOGRAM_OK, NAN])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[HISTOGRAM_OK, with_values(SIAMESE_OK, 0.0)])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[HISTOGRAM_OK, with_values(SIAMESE_OK, 1e20)])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[with_values(HISTOGRAM_OK, 1e20), SIAMESE_OK])], InvalidArgument, "images[0].vectors"),
        ([given(vectors=[HISTOGRAM_OK, replace(SIAMESE_OK, fingerprint="")])], InvalidArgument, "images[0].vectors"),
        ([given(), given("b", vectors=[HISTOGRAM_OK, replace(SIAMESE_OK, fingerprint="c" * 16)])], FingerprintMismatch, None),
    ],
)
def test_images_that_do_not_fit_the_collection_change_nothing(
    images: list[GivenImage], error: type[LookalikeError], field: str | None
) -> None:
    backends = MemoryBackends()
    with pytest.raises(error) as raised:
        write(backends, *images)
    assert raised.value.field == field
    assert backends.images == {}


def test_pages_with_vectors_hold_as_many_as_fit_and_lose_none() -> None:
    large = (Space(HISTOGRAM, 32_768, Metric.L2, "a" * 16, BINS), GOOD[1])
    assert images_per_answer(SPACES) == 1000 or images_per_answer(SPACES) > 1000
    assert 100 < images_per_answer(large) < 200
    images = random_images(9)
    backends = MemoryBackends(images)
    (wide,) = [replace(backends.catalogue.get("things"), spaces=(replace(SPACES[0], dimension=2_000_000), SPACES[1]))]
    backends.collections["things"] = wide
    core = Images(backends, FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())
    seen, last_id = [], ""
    while True:
        page = asyncio.run(
            core.page(
                "things",
                filter_text="",
                limit=1000,
                after_id=last_id,
                view=ImageView.FULL,
                consistency=Consistency.STRONG,
                call=a_call(),
            )
        )
        assert 1 <= len(page.images) <= images_per_answer(wide.spaces) < 9
        assert all(set(image.vectors) == {HISTOGRAM, SIAMESE} for image in page.images)
        seen += [image.id for image in page.images]
        last_id = page.last_id
        if not last_id:
            break
    assert seen == [image.id for image in images]


BINS = HistogramSettings(bins=8)
GOOD = (BINS.space(), Space(SIAMESE, 4, Metric.COSINE, "b" * 16, ModelSettings("small")))


def create(new: NewCollection, backends: MemoryBackends) -> Any:
    core = Collections(backends, FakeLedger(), NOTHING, few_threads())
    return asyncio.run(core.create(new, a_call()))


def test_a_restored_collection_has_the_spaces_it_had_and_the_embedder_is_not_asked() -> None:
    backends = MemoryBackends()
    for number, spaces in enumerate((GOOD, GOOD[:1], GOOD[1:], (GOOD[1], replace(GOOD[1], name="photo"), GOOD[0]))):
        made = create(NewCollection(f"restored{number}", restored_spaces=spaces), backends)
        assert made.spaces == spaces
        assert backends.catalogue.get(f"restored{number}") == made


@pytest.mark.parametrize(
    ("spaces", "field"),
    [
        ((GOOD[0], replace(GOOD[1], name="Bad name")), "restored_spaces[1].name"),
        ((GOOD[0], replace(GOOD[1], name=HISTOGRAM)), "restored_spaces[1].name"),
        ((GOOD[0], replace(GOOD[1], kind=ModelSettings())), "restored_spaces[1].model.name"),
        ((replace(GOOD[0], metric=Metric.COSINE), GOOD[1]), "restored_spaces[0].metric"),
        ((GOOD[0], replace(GOOD[1], metric=Metric.L2)), "restored_spaces[1].metric"),
        ((GOOD[0], replace(GOOD[1], fingerprint="xyz")), "restored_spaces[1].fingerprint"),
        ((GOOD[0], replace(GOOD[1], dimension=0)), "restored_spaces[1].dimension"),
        ((replace(GOOD[0], dimension=16), GOOD[1]), "restored_spaces[0].dimension"),
    ],
)
def test_spaces_that_no_collection_can_have_are_refused(spaces: tuple[Space, ...], field: str) -> None:
    backends = MemoryBackends()
    with pytest.raises(InvalidArgument) as raised:
        create(NewCollection("restored", restored_spaces=spaces), backends)
    assert raised.value.field == field
    assert "restored" not in backends.collections


def test_pages_with_large_metadata_hold_as_many_as_fit_and_lose_none() -> None:
    """`limit` is the most; 800 images with 16 KB of numbers each take two messages and more."""
    numbers = {"n": [-1] * 5400}
    stored = [replace(image, metadata=numbers) for image in random_images(800)]
    core = Images(MemoryBackends(stored), FakeLedger(), NOTHING, NOTHING, NOTHING, few_threads())
    ids: list[str] = []
    last_id = ""
    while not ids or last_id:
        page = asyncio.run(
            core.page(
                "things",
                filter_text="",
                limit=1000,
                after_id=last_id,
                view=ImageView.BASIC,
                consistency=Consistency.BOUNDED,
                call=a_call(),
            )
        )
        assert 1 <= len(page.images) < 400
        ids += [image.id for image in page.images]
        last_id = page.last_id
    assert ids == [f"{number:03d}" for number in range(800)]
