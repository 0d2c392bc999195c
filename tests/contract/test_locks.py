"""Of two writes to one id the later revision wins in every space, on both Milvus servers with a real Redis.

Real are the ledger, the worker, the store and the gateway's writes. The embedder is faked: its calls are where a test lets
somebody else write in the middle of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.images.image_writer import ImageWriter
from lookalike.jobs.leases import PLAN
from lookalike.records.collection import Collection
from lookalike.records.filter import Selection
from lookalike.records.image import ImageUpdate, StoredImage
from lookalike.records.job import Counts, Job, JobOptions, NearDuplicatePolicy
from lookalike.records.source import FolderSource, JobSource, ManifestSource
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import connect
from lookalike.store.milvus.vectors import MilvusVectors
from tests.contract.store_samples import TIMEOUT_S, made, new_collection
from tests.unit.gateway.fakes import BackendsOf
from tests.unit.indexer.conftest import Bench, made_bench
from tests.unit.indexer.fakes import vector_of


@dataclass
class World:
    """A bench over a real Milvus, with a collection that holds nothing before the test."""

    bench: Bench
    writer: ImageWriter
    store: MilvusVectors
    collection: Collection

    def source(self, name: str, **contents: bytes) -> JobSource:
        """A manifest `name` of pictures, by id."""
        for image_id, content in contents.items():
            self.bench.put(f"{name}/{image_id}.png", content)
        lines = [f"{name}/{image_id}.png,{image_id},{name}" for image_id in contents]
        return ManifestSource(str(self.bench.put(f"{name}.csv", ("uri,id,of\n" + "\n".join(lines)).encode())))

    def begin(self, source: JobSource, options: JobOptions = JobOptions()) -> Job:  # noqa: B008 - frozen
        """A job whose one chunk is planned and sent, and waits."""
        job = self.bench.create(source, uid=self.collection.uid, options=options)
        assert self.bench.deliver()
        return job

    def run(self, source: JobSource, options: JobOptions = JobOptions()) -> Job:  # noqa: B008 - frozen
        return self.bench.run(self.begin(source, options))

    def delete(self, *ids: str) -> int:
        return self.writer.delete(self.collection.name, ids, Deadline.after(TIMEOUT_S)).revision

    def update(self, image_id: str, **metadata: object) -> int:
        update = ImageUpdate(image_id, metadata)
        return self.writer.update(self.collection.name, [update], Deadline.after(TIMEOUT_S)).revision

    def during(self, act: Callable[[], object]) -> None:
        """Have `act` done in the middle of the next chunk that embeds anything."""
        calls = len(self.bench.embedder.calls)
        self.bench.embedder.during = lambda number: act() if number == calls + 1 else None

    def images(self) -> dict[str, StoredImage]:
        """What every space holds; asserts that they agree, and hold the vectors of the same picture."""
        ids = self.store.matching_ids(self.collection, Selection(), limit=1000, timeout_s=TIMEOUT_S)
        rows = self.store.get_everywhere(self.collection, ids, timeout_s=TIMEOUT_S)
        assert {len(of_id) for of_id in rows.values()} <= {len(self.collection.spaces)}
        assert all(one == of_id[0] for of_id in rows.values() for one in of_id)
        names = [space.name for space in self.collection.spaces]
        # Bounded reads see what a Strong one has seen, and wait for nothing.
        return self.store.get(self.collection, ids, spaces=names, timeout_s=TIMEOUT_S)

    def shows(self, **expected: tuple[bytes, int]) -> bool:
        """Whether these images have their bytes' vectors in every space, at their revision, and there are no others."""
        images = self.images()
        same = [
            np.allclose(images[image_id].vectors[space.name], vector_of(content, space), atol=1e-5)
            for image_id, (content, _) in expected.items()
            for space in self.collection.spaces
        ]
        return {i: image.revision for i, image in images.items()} == {i: r for i, (_, r) in expected.items()} and all(same)


class Unflushed(MilvusVectors):
    """Nothing here depends on segments being closed, which takes the real server seconds at the end of each job."""

    def flush(self, collection: Collection, *, wait: bool = True, timeout_s: float = 0.0) -> None:
        return


@pytest.fixture(scope="module")
def connection(store_uri: str) -> Iterator[Any]:
    opened = connect(store_uri)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared(connection: Any) -> Iterator[Collection]:
    """A collection for all tests: making it takes the real server seconds."""
    with made(MilvusCatalogue(connection), new_collection()) as collection:
        yield collection


@pytest.fixture
def world(connection: Any, shared: Collection, redis_db: str, tmp_path: Path) -> Iterator[World]:
    catalogue, store = MilvusCatalogue(connection), Unflushed(connection)
    with made_bench(redis_db, tmp_path, catalogue, store) as bench:
        bench.collection = shared.name
        world = World(bench, ImageWriter(BackendsOf(store, catalogue), bench.ledger), store, shared)
        yield world
    store.delete(shared, list(world.images()), Deadline.after(TIMEOUT_S))
    # A Strong read of every space makes the deletes visible to Bounded reads of the next test.
    assert store.matching_ids(shared, Selection(), limit=1000, timeout_s=TIMEOUT_S) == []


def test_whatever_comes_in_between_the_later_write_stays(world: World) -> None:
    first = world.run(world.source("first", a=b"a1", b=b"b1", c=b"c1", d=b"d1"))
    everything = {"a": b"a1", "b": b"b1", "c": b"c1", "d": b"d1"}
    assert world.shows(**{image_id: (content, first.revision) for image_id, content in everything.items()})

    # An older job that is slower than a newer one, a delete and an update in the middle of it.
    older = world.begin(world.source("older", a=b"a2", b=b"b2", c=b"c2", d=b"d2"))
    revisions: dict[str, int] = {}

    def meanwhile() -> None:
        waiting = world.bench.queue.sent
        world.bench.queue.sent = []
        revisions["a"] = world.run(world.source("newer", a=b"a3")).revision
        world.bench.queue.sent = waiting
        revisions["b"] = world.delete("b")
        revisions["c"] = world.update("c", season="winter")

    world.during(meanwhile)
    older = world.bench.run(older)
    assert (older.counts, older.skip_reasons) == (Counts(4, 1, 3), {"superseded": 3})
    left = {"a": (b"a3", revisions["a"]), "c": (b"c1", revisions["c"]), "d": (b"d2", older.revision)}
    assert world.shows(**left)
    assert world.images()["c"].metadata == {"season": "winter"}

    # Its messages once more, after all that.
    world.bench.queue.sent = [(older.id, PLAN), (older.id, "0")]
    assert world.bench.run(older).counts == Counts(4, 1, 3)
    assert world.shows(**left)

    # A later job may write what was deleted and updated before it.
    latest = world.run(world.source("latest", b=b"b4", c=b"c1"))
    assert latest.counts == Counts(2, 2)
    assert world.shows(**left | {"b": (b"b4", latest.revision), "c": (b"c1", latest.revision)})
    assert world.images()["c"].metadata == {"of": "latest"}


def test_the_same_source_again_changes_what_changed_only(world: World) -> None:
    source = world.source("shop", a=b"a1", b=b"b1", c=b"c1")
    first = world.run(source)
    world.bench.put("shop/b.png", b"b2")
    world.update("c", of="somebody's own")
    again = world.run(source)
    assert (again.counts, again.skip_reasons) == (Counts(3, 2, 1), {"unchanged": 1})
    assert world.bench.embedder.calls[1:] == [[b"b2"]], "the bytes of c are embedded already"
    assert world.shows(a=(b"a1", first.revision), b=(b"b2", again.revision), c=(b"c1", again.revision))
    assert world.images()["c"].metadata == {"of": "shop"}


def test_near_duplicates_are_found_in_the_collection_and_in_the_chunk(world: World) -> None:
    world.run(world.source("before", a=b"coat+1"))
    contents = {"b": b"coat+22", "c": b"hat+1", "d": b"hat+22", "e": b"dress"}
    skipped = world.run(world.source("new", **contents), JobOptions(near_duplicates=NearDuplicatePolicy.SKIP, threshold=0.99))
    assert (skipped.counts, skipped.skip_reasons) == (Counts(4, 2, 2), {"near_duplicate": 2})
    assert set(world.images()) == {"a", "c", "e"}
    linked = world.run(world.source("new", **contents), JobOptions(near_duplicates=NearDuplicatePolicy.LINK, threshold=0.99))
    assert (linked.counts, linked.skip_reasons) == (Counts(4, 2, 2), {"unchanged": 2})
    links = {i: image.metadata.get("near_duplicate_of") for i, image in world.images().items()}
    assert links == {"a": None, "b": "a", "c": None, "d": "c", "e": None}
    # Replacing an image with what looks like its old self, and like nothing else that stays.
    replaced = world.run(
        world.source("before", a=b"coat+333"), JobOptions(near_duplicates=NearDuplicatePolicy.SKIP, threshold=0.99)
    )
    assert replaced.counts == Counts(1, 1)


def test_a_mirror_deletes_in_every_space_what_its_folder_no_longer_has_and_nobody_has_written_since(world: World) -> None:
    world.run(world.source("shop", a=b"a1", b=b"b1", c=b"c1"))
    world.run(world.source("other", z=b"z1"))
    for name in "bc":
        (world.bench.folder / "data" / "shop" / f"{name}.png").unlink()
    folder = FolderSource(str(world.bench.folder / "data" / "shop"))
    forecast = world.run(folder, JobOptions(mirror=True, dry_run=True)).forecast
    assert forecast is not None
    assert (forecast.deleted, set(world.images())) == (3, {"a", "b", "c", "z"}), "the folder has a.png under another id"
    world.during(lambda: world.update("c", of="somebody's own"))
    job = world.run(folder, JobOptions(mirror=True))
    assert (job.counts.indexed, job.deleted) == (1, 2)
    left = world.images()
    assert {"c", "z"} < set(left)
    assert len(left) == 3
    assert left["c"].metadata == {"of": "somebody's own"}
