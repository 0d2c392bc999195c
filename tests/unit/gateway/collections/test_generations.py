"""Re-embedding as the gateway sees it: what it refuses at once, one job per request id, and steps under the write lock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest

from gateway.collections.collections import Collections
from gateway.collections.generations import DEFAULT_GRACE, Generations, Reembed
from lookalike.errors import FailedPrecondition, LookalikeError, NotFound, Unavailable
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.records.collection import Collection
from lookalike.records.job import Job, JobOptions
from lookalike.records.job_state import JobState
from lookalike.records.model import Embedding
from lookalike.records.search import ByImage, SearchRequest
from lookalike.records.search_options import SearchOptions
from lookalike.records.source import CollectionSource
from lookalike.runtime.call import Deadline
from lookalike.spaces import SIAMESE, Metric, ModelSettings, Space, SpaceSpec
from lookalike.store.generations import begun, switched, without_previous
from lookalike.store.memory.catalogue import MemoryCatalogue
from tests.unit.gateway.fakes import (
    COLLECTION,
    SPACES,
    FakeEmbedder,
    FakeLedger,
    FakeQueue,
    MemoryBackends,
    a_call,
    few_threads,
    random_images,
    search_core,
)

NEW = Space(SIAMESE, 6, Metric.COSINE, "cccccccccccccccc", ModelSettings("larger"))
FILLING = begun(COLLECTION, "job", (SPACES[0], NEW))
SWITCHED = switched(FILLING, "job", datetime.now(UTC) + timedelta(hours=1))


class LargerEmbedder(FakeEmbedder):
    """Serves `small` as the collection has it, `larger`, and histograms as they were."""

    async def describe(self, specs: Sequence[SpaceSpec], deadline: Deadline) -> tuple[Space, ...]:
        served = {space.model: space for space in (*SPACES, NEW)}
        found = []
        for place, spec in enumerate(specs):
            model = spec.kind.name if isinstance(spec.kind, ModelSettings) else ""
            if model not in served:
                raise NotFound("model", model, field=f"spaces[{place}].model.name")
            found.append(replace(served[model], name=spec.name))
        return tuple(found)


@pytest.fixture
def ledger(redis_db: str) -> Iterator[Ledger]:
    ledger = connect_ledger(redis_db)
    yield ledger
    ledger.close()


def core(ledger: Ledger, now: Collection = COLLECTION, plans: FakeQueue | None = None) -> Generations:
    backends, embedder, threads = MemoryBackends(collections=[now]), LargerEmbedder(), few_threads()
    collections = Collections(backends, ledger, embedder, threads)
    return Generations(backends, ledger, plans or FakeQueue(), embedder, collections, threads)


def reembed(generations: Generations, **fields: Any) -> Job:
    return asyncio.run(generations.reembed(replace(Reembed("things", model="larger"), **fields), a_call()))


def test_a_job_is_written_down_that_fills_the_next_generation(ledger: Ledger) -> None:
    plans = FakeQueue()
    job = reembed(core(ledger, plans=plans), allow_missing=True)
    assert (job.collection, job.source, job.state) == ("things", CollectionSource(2), JobState.PENDING)
    assert job.options == JobOptions(model="larger", allow_missing=True, grace=DEFAULT_GRACE)
    assert plans.plans == [job.id]


def test_a_request_repeated_gives_its_job_also_after_the_switch(ledger: Ledger) -> None:
    first = reembed(core(ledger), request_id="nightly")
    for now in (COLLECTION, FILLING, SWITCHED):
        assert reembed(core(ledger, now), request_id="nightly").id == first.id
    with pytest.raises(FailedPrecondition) as refused:
        reembed(core(ledger), request_id="nightly", grace=timedelta(seconds=60))
    assert refused.value.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("now", "fields", "reason"),
    [
        (COLLECTION, {"model": "small"}, "REEMBED_NOT_NEEDED"),
        (COLLECTION, {"model": ""}, "REEMBED_NOT_NEEDED"),
        (FILLING, {}, "REEMBED_UNDER_WAY"),
        (SWITCHED, {}, "PREVIOUS_GENERATION_KEPT"),
        (COLLECTION, {"model": "nobody"}, "MODEL_NOT_FOUND"),
        (COLLECTION, {"name": "nothing"}, "COLLECTION_NOT_FOUND"),
        (COLLECTION, {"name": "a__b"}, "INVALID_ARGUMENT"),
        (COLLECTION, {"model": "A B"}, "INVALID_ARGUMENT"),
        (COLLECTION, {"request_id": "a b"}, "INVALID_ARGUMENT"),
        (COLLECTION, {"grace": timedelta(seconds=29)}, "INVALID_ARGUMENT"),
        (COLLECTION, {"grace": timedelta(seconds=-60)}, "INVALID_ARGUMENT"),
        (COLLECTION, {"grace": timedelta(seconds=1e12)}, "INVALID_ARGUMENT"),
    ],
)
def test_what_cannot_be_re_embedded_is_refused_and_makes_no_job(
    ledger: Ledger, now: Collection, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(LookalikeError) as refused:
        reembed(core(ledger, now), **fields)
    assert refused.value.reason == reason
    assert ledger.active() == []


def test_a_second_request_is_refused_while_the_job_of_the_first_has_not_begun(ledger: Ledger) -> None:
    first = reembed(core(ledger))
    with pytest.raises(FailedPrecondition, match=first.id) as refused:
        reembed(core(ledger))
    assert refused.value.reason == "REEMBED_UNDER_WAY"
    ledger.request_cancel(first.id)
    assert reembed(core(ledger)).id != first.id


def test_a_way_back_and_the_end_of_it_are_taken_under_the_write_lock() -> None:
    ledger = FakeLedger()
    generations = core(ledger, SWITCHED)
    back = asyncio.run(generations.roll_back("things", a_call()))
    assert (back.generation, back.spaces, back.image_count) == (1, SPACES, 0)
    again = asyncio.run(generations.drop_previous("things", a_call()))
    assert again == COLLECTION
    assert ledger.log == ["lock things", "unlock"] * 2
    for call in (generations.roll_back, generations.drop_previous):
        with pytest.raises(FailedPrecondition, match="keeps no previous generation"):
            asyncio.run(call("things", a_call()))
        with pytest.raises(NotFound):
            asyncio.run(call("nothing", a_call()))


def test_nothing_is_changed_where_the_lock_was_lost() -> None:
    ledger = FakeLedger()
    ledger.still_held = False
    generations = core(ledger, SWITCHED)
    with pytest.raises(Unavailable, match="write lock"):
        asyncio.run(generations.roll_back("things", a_call()))


def test_no_job_is_made_where_the_lock_was_lost() -> None:
    ledger = FakeLedger()
    ledger.still_held = False
    with pytest.raises(Unavailable, match="write lock"):
        reembed(core(ledger))
    assert ledger.created == {}


def remembering() -> MemoryBackends:
    """A store whose catalogue remembers `things` as they are now for an hour."""
    backends = MemoryBackends(random_images(3), make_catalogue=partial(MemoryCatalogue, ttl_s=3600))
    backends.catalogue.get("things")
    return backends


class OnesEmbedder(FakeEmbedder):
    async def embed(self, images: Sequence[bytes], spaces: Sequence[Space], deadline: Deadline) -> list[Embedding]:
        return [{space.name: np.ones(space.dimension, np.float32) for space in spaces} for _ in images]


PICTURE = SearchRequest("things", ByImage(b"picture"), SearchOptions(spaces=(SIAMESE,)))


def test_a_search_that_meets_a_generation_just_dropped_is_answered_by_the_one_that_is() -> None:
    backends, ones = remembering(), {SIAMESE: np.ones(NEW.dimension, np.float32)}
    elsewhere = MemoryCatalogue(backends.tables)
    two = elsewhere.change("things", lambda now: begun(now, "job", (SPACES[0], NEW)))
    backends.vectors.fill(two, [replace(one, vectors=ones) for one in random_images(3)])
    elsewhere.change("things", lambda now: switched(now, "job", datetime.now(UTC) + timedelta(hours=1)))
    elsewhere.change("things", without_previous)
    answer = asyncio.run(search_core(backends, OnesEmbedder()).answer(PICTURE, a_call()))
    assert [space.fingerprint for space in answer.spaces] == [NEW.fingerprint]
    assert len(answer.neighbours) == 3


def test_a_collection_that_is_gone_is_not_found_however_often_it_is_read() -> None:
    backends = remembering()
    MemoryCatalogue(backends.tables).delete("things")
    with pytest.raises(NotFound):
        asyncio.run(search_core(backends, OnesEmbedder()).answer(PICTURE, a_call()))
