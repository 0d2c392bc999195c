"""Writing to every store: an image is one row in each space, whatever is updated, deleted, flushed, or done at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lookalike.errors import InvalidArgument, Unavailable
from lookalike.filters.parsing import parse
from lookalike.metadata import same_metadata
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.vectors import MilvusVectors
from lookalike.store.writable import WritableVectors, guarded
from tests.contract.store_samples import TIMEOUT_S, image, made, new_collection
from tests.servers.processes import until
from tests.servers.stores import StoreServer

ODD_IDS = ["it's", 'say "hi"', "back\\slash", "a/b c", "naïve 😀", '" or id != "', "x*", "%_", "z" * 256, "日本"]


@pytest.fixture(scope="module")
def store(store_server: StoreServer) -> WritableVectors:
    return store_server.vectors


@pytest.fixture(scope="module")
def shared(store_server: StoreServer) -> Iterator[Collection]:
    """A collection for tests that write ids of their own and look at nothing else."""
    with made(store_server.catalogue(), new_collection()) as collection:
        yield collection


def test_a_strong_read_sees_the_write_just_acknowledged_to_another_client(
    store: WritableVectors, store_server: StoreServer, shared: Collection
) -> None:
    with store_server.elsewhere() as other:
        for turn in range(5):
            store.upsert(shared, [image("fresh", revision=turn)])
            seen = other.vectors.get(shared, ["fresh"], consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)
            assert seen["fresh"].revision == turn


def test_metadata_comes_back_as_it_went_in(store: WritableVectors, shared: Collection) -> None:
    metadata = {
        "text": 'q"uo\\te\n\tü😀',
        "int": [2**53 + 1, 2**63 - 1, -(2**63), 7],
        "float": [0.1, 2.0, 2.0**53, 5e-324, 1.7976931348623157e308],
        "flags": [True, False, None],
        "nested": {"a": {"b": [1, {"c": "d"}]}},
        "empty": {},
        'key with.dots and "quotes"': 1,
    }
    store.upsert(shared, [image("meta", metadata=metadata), image("bare")])
    found = store.get(shared, ["meta", "bare"], consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)
    assert same_metadata(found["meta"].metadata, metadata)
    assert found["bare"].metadata == {}
    strong = SearchOptions(top_k=1, ef=1, filter='id = "meta"', consistency=Consistency.STRONG)
    ((hit,),) = store.search(shared, "siamese", np.ones((1, 4), np.float32), strong, timeout_s=TIMEOUT_S)
    (row,) = store.page(shared, filter=parse(strong.filter), limit=1, consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)
    assert same_metadata(hit.image.metadata, metadata)
    assert same_metadata(row.metadata, metadata)


def test_ids_of_any_text_are_found_paged_excluded_and_deleted(store: WritableVectors, shared: Collection) -> None:
    store.upsert(shared, [image(i, metadata={"odd": True}) for i in ODD_IDS])
    strong, odd_ones, query = Consistency.STRONG, "odd = true", np.ones((1, 4), np.float32)
    assert set(store.get(shared, ODD_IDS, consistency=strong, timeout_s=TIMEOUT_S)) == set(ODD_IDS)
    paged = store.page(shared, filter=parse(odd_ones), limit=1000, consistency=strong, timeout_s=TIMEOUT_S)
    assert [found.id for found in paged] == sorted(ODD_IDS)
    # One strong read of a space makes what it saw visible to the bounded ones after it.
    store.search(shared, "siamese", query, SearchOptions(top_k=1, ef=64, consistency=strong), timeout_s=TIMEOUT_S)
    for odd in ODD_IDS[:6]:
        after = store.page(shared, filter=parse(odd_ones), after_id=odd, limit=1000, timeout_s=TIMEOUT_S)
        assert [found.id for found in after] == [i for i in sorted(ODD_IDS) if i > odd]
        (hits,) = store.search(
            shared, "siamese", query, SearchOptions(top_k=100, filter=odd_ones, ef=100), exclude_ids=[odd], timeout_s=TIMEOUT_S
        )
        assert {hit.image.id for hit in hits} == set(ODD_IDS) - {odd}
    assert store.delete(shared, [*ODD_IDS[:6], "nobody"], Deadline.after(TIMEOUT_S)) == 6
    left = store.page(shared, filter=parse(odd_ones), limit=1000, consistency=strong, timeout_s=TIMEOUT_S)
    assert [found.id for found in left] == sorted(ODD_IDS[6:])


def test_every_id_stays_one_row_in_each_space_through_updates_deletes_and_flushes(
    store_server: StoreServer, store: WritableVectors
) -> None:
    ids = [f"k{n:04}" for n in range(1600)]
    random.Random(1).shuffle(ids)
    alive: dict[str, int] = {}
    with made(store_server.catalogue(), new_collection()) as collection:

        def write(some: list[str], revision: int) -> None:
            store.upsert(collection, [image(i, revision=revision) for i in some])
            alive.update(dict.fromkeys(some, revision))

        def check() -> None:
            assert [store_server.row_count(collection.physical_of(space)) for space in collection.spaces] == [len(alive)] * 2
            assert _paged(store, collection, 301) == sorted(alive.items())

        write(ids[:1100], 1)
        write(ids[:300], 2)
        store.flush(collection)
        write(ids[200:800], 3)
        write(ids[1100:1600], 4)
        check()  # updates over a closed segment, and new rows
        doomed = ids[100:400] + ids[1400:1500]
        assert store.delete(collection, doomed, Deadline.after(TIMEOUT_S)) == 400
        for i in doomed:
            del alive[i]
        check()
        write(ids[100:150], 5)  # some come back
        for revision in range(6, 12):
            write(["hot"], revision)
        store.upsert(collection, [image("twice", revision=1), image("twice", revision=2)])
        alive["twice"] = 2
        store.flush(collection)
        check()


def test_what_nobody_waited_for_is_there_and_gets_its_index(store: WritableVectors, store_server: StoreServer) -> None:
    with made(store_server.catalogue(), new_collection()) as collection:
        # Milvus makes no index of fewer than 1,024.
        store.upsert(collection, [image(f"i{n}") for n in range(1100)])
        store.flush(collection, wait=False)
        assert store.count(collection, timeout_s=TIMEOUT_S) == 1100
        (hits,) = store.search(
            collection, "siamese", np.ones((1, 4), np.float32), SearchOptions(top_k=1000, ef=1000), timeout_s=TIMEOUT_S
        )
        assert len(hits) == 1000
        if isinstance(store, MilvusVectors):
            until(lambda: store.pending(collection) == 0, "every row is indexed", timeout_s=60)


def test_a_bad_image_stops_the_call_before_anything_is_written(store: WritableVectors, shared: Collection) -> None:
    with pytest.raises(InvalidArgument, match="siamese"):
        store.upsert(shared, [image("good"), image("bad", siamese=np.zeros(5, np.float32))])
    assert store.get_everywhere(shared, ["good", "bad"], timeout_s=TIMEOUT_S) == {}


def test_get_everywhere_distinguishes_half_written_images(
    store_server: StoreServer, store: WritableVectors, shared: Collection
) -> None:
    store.upsert(shared, [image("whole", revision=3), image("half", revision=1)])
    store_server.remove_row(shared.physical("siamese"), "half")
    found = store.get_everywhere(shared, ["whole", "half", "none"], timeout_s=TIMEOUT_S)
    assert {image_id: [row.revision for row in rows] for image_id, rows in found.items()} == {"whole": [3, 3], "half": [1]}
    assert store.get(shared, ["half"], consistency=Consistency.STRONG, timeout_s=TIMEOUT_S) == {}
    assert store.delete(shared, ["half"], Deadline.after(TIMEOUT_S)) == 1


def test_many_threads_may_share_a_store(store: WritableVectors, shared: Collection) -> None:
    queries = np.ones((2, 4), np.float32)
    start = threading.Barrier(8)

    def work(worker: int) -> int:
        start.wait(10)
        for turn in range(6):
            store.upsert(shared, [image(f"w{worker}-{turn}-{n}", revision=worker) for n in range(10)])
            store.search(shared, "siamese", queries, SearchOptions(top_k=5, ef=64), timeout_s=TIMEOUT_S)
            store.get(shared, [f"w{worker}-{turn}-0"], spaces=["histogram", "siamese"], timeout_s=TIMEOUT_S)
            store.page(shared, limit=5, timeout_s=TIMEOUT_S)
        return store.delete(shared, [f"w{worker}-{turn}-9" for turn in range(6)], Deadline.after(TIMEOUT_S))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [6] * 8
    everything = [f"w{worker}-{turn}-{n}" for worker in range(8) for turn in range(6) for n in range(10)]
    found = store.get_everywhere(shared, everything, timeout_s=TIMEOUT_S)
    assert sorted(found) == sorted(i for i in everything if not i.endswith("-9"))
    assert {len(rows) for rows in found.values()} == {2}


def _paged(store: WritableVectors, collection: Collection, limit: int) -> list[tuple[str, int]]:
    """Id and revision of every image, by pages; the first read is Strong, so that those after it see as much."""
    found: list[tuple[str, int]] = []
    consistency = Consistency.STRONG
    while page := store.page(
        collection, after_id=found[-1][0] if found else "", limit=limit, consistency=consistency, timeout_s=TIMEOUT_S
    ):
        found += [(row.id, row.revision) for row in page]
        consistency = Consistency.BOUNDED
    return found


def test_nothing_is_written_once_the_writer_may_not_go_on(store_server: StoreServer) -> None:
    def lost() -> None:
        raise Unavailable("write lock", "lost")

    store, catalogue, other = store_server.vectors, store_server.catalogue(), new_collection()
    with made(catalogue, new_collection()) as collection:
        store.upsert(collection, [image("a")])
        for write in (
            lambda: store.upsert(collection, [image("a", revision=2), image("b")], guarded(TIMEOUT_S, lost)),
            lambda: store.rewrite(collection, [image("a", revision=2)], guarded(TIMEOUT_S, lost)),
            lambda: store.delete(collection, ["a"], guarded(TIMEOUT_S, lost)),
            lambda: catalogue.delete(collection.name, check=lost),
            lambda: catalogue.create(other, check=lost),
        ):
            with pytest.raises(Unavailable, match="write lock"):
                write()
        rows = store.get_everywhere(collection, ["a", "b"], timeout_s=TIMEOUT_S)
        assert {image_id: [row.revision for row in of_id] for image_id, of_id in rows.items()} == {"a": [1, 1]}
        assert catalogue.get(collection.name, fresh=True) == collection
        assert store_server.tables(other.name) == []
