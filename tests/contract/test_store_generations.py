"""Two generations in every store: written together, read apart, switched in one write, and nothing left lying about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from lookalike.errors import FailedPrecondition, Unavailable
from lookalike.names import alias_name
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, StoredImage
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.spaces import Metric, ModelSettings, Space
from lookalike.store.generations import begun, rolled_back, switched, without_previous
from lookalike.store.writable import WritableVectors
from tests.contract.store_samples import NOW, TIMEOUT_S, image, made, new_collection
from tests.servers.milvus_store import OnMilvus
from tests.servers.stores import StoreServer

NEW = Space("siamese", 3, Metric.COSINE, "99887766554433ff", ModelSettings("small"))


def both(image_id: str, *, revision: int = 1) -> StoredImage:
    return replace(image(image_id, revision=revision), other_vectors={"siamese": np.array([1, 2, revision], np.float32)})


def filled(image_id: str, *, revision: int = 1) -> StoredImage:
    return both(image_id, revision=revision).as_other()


def revisions(store: WritableVectors, collection: Collection, ids: Sequence[str]) -> dict[str, list[int]]:
    rows = store.get_everywhere(collection, ids, timeout_s=TIMEOUT_S)
    return {image_id: [row.revision for row in of_id] for image_id, of_id in rows.items()}


def ids(store: WritableVectors, collection: Collection) -> list[str]:
    return [one.id for one in store.page(collection, limit=10, consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)]


def test_the_life_of_two_generations(store_server: StoreServer) -> None:
    store, catalogue = store_server.vectors, store_server.catalogue()
    with made(catalogue, new_collection()) as one:
        store.upsert(one, [image("a"), image("b")])
        two = catalogue.change(one.name, lambda now: begun(now, "job", (now.spaces[0], NEW)))
        _writes_go_to_both(store, two)
        _only_the_current_one_is_read(store, two)
        later = catalogue.change(two.name, lambda now: switched(now, "job", NOW + timedelta(days=1)))
        assert store_server.catalogue().get(one.name, fresh=True) == later
        assert later.physical("siamese") != one.physical("siamese")
        if isinstance(store_server, OnMilvus):
            assert _alias_points_to(store_server, later) == later.physical("siamese")
        assert ids(store, later) == ["b", "c"], "an image that the new generation does not have is not in it"
        back = catalogue.change(two.name, lambda now: rolled_back(now, NOW))
        assert ids(store, back) == ["b", "c"], "nothing that was written meanwhile is missing from the old one"
        alone = catalogue.change(two.name, without_previous)
        assert store_server.tables(one.name) == sorted(alone.physicals) == sorted(one.physicals)
        assert ids(store, alone) == ["b", "c"]


def _writes_go_to_both(store: WritableVectors, two: Collection) -> None:
    with pytest.raises(FailedPrecondition, match="two generations"):
        store.upsert(two, [image("a", revision=9)])
    assert revisions(store, two, ["a", "b"]) == {"a": [1, 1], "b": [1, 1]}
    store.fill(two, [filled("b")])
    store.upsert(two, [both("c", revision=2), both("b", revision=2)])
    assert revisions(store, two, ["a", "b", "c"]) == {"a": [1, 1], "b": [2, 2, 2], "c": [2, 2, 2]}
    store.rewrite(two, [image("a", revision=3), image("c", revision=3)])
    assert revisions(store, two, ["a", "c"]) == {"a": [3, 3], "c": [3, 3, 3]}
    assert set(store.get_by_space(two, ["a", "c"], timeout_s=TIMEOUT_S)["c"]) == set(two.written)
    assert store.delete(two, ["a"], Deadline.after(TIMEOUT_S)) == 1
    store.upsert(two, [both("d")])
    assert store.delete(two, ["d"], Deadline.after(TIMEOUT_S)) == 1
    assert revisions(store, two, ["a", "d"]) == {}


def _only_the_current_one_is_read(store: WritableVectors, two: Collection) -> None:
    store.fill(two, [filled("only in the other one")])
    assert ids(store, two) == ["b", "c"]
    assert ids(store, two.as_other()) == ["b", "c", "only in the other one"]
    assert store.count(two, timeout_s=TIMEOUT_S) == 2
    query = np.ones((1, 3), np.float32)
    found = store.search(
        two.as_other(), "siamese", query, SearchOptions(top_k=5, ef=64, consistency=Consistency.STRONG), timeout_s=TIMEOUT_S
    )
    assert len(found[0]) == 3
    store.delete(two, ["only in the other one"], Deadline.after(TIMEOUT_S))


def _alias_points_to(server: OnMilvus, collection: Collection) -> str:
    alias = alias_name(collection.name, "siamese")
    (pointed,) = [physical for physical in collection.physicals if alias in server.aliases(physical)]
    return pointed


def test_what_a_killed_change_left_behind_goes_or_is_empty_when_it_is_named_and_a_delete_takes_everything(
    store_server: StoreServer,
) -> None:
    store, catalogue, one = store_server.vectors, store_server.catalogue(), new_collection()
    catalogue.create(one)
    # As a change leaves it that is killed between making what is new and writing the row.
    left = begun(one, "killed job", (one.spaces[0], NEW)).physical_of(NEW)
    store_server.make_table(left, NEW)
    assert catalogue.change(one.name, lambda now: now) == one
    assert store_server.tables(one.name) == sorted(one.physicals)
    store_server.make_table(left, new_collection().spaces[1])
    two = catalogue.change(one.name, lambda now: begun(now, "job", (now.spaces[0], NEW)))
    store.fill(two, [filled("a")])
    with pytest.raises(Unavailable, match="write lock"):
        catalogue.change(one.name, lambda now: replace(now, other=None), check=_lost)
    assert catalogue.get(one.name, fresh=True) == two
    assert ids(store, two.as_other()) == ["a"], "nothing is dropped before the row is written"
    catalogue.delete(one.name)
    assert store_server.tables(one.name) == []


def test_a_generation_that_shares_spaces_has_the_images_that_the_new_ones_have(store_server: StoreServer) -> None:
    store, catalogue = store_server.vectors, store_server.catalogue()
    photo = replace(NEW, name="photo")
    newer = replace(photo, fingerprint="1234567812345678")
    histogram, siamese = new_collection().spaces
    vectors = {"photo": np.array([1, 2, 3], np.float32)}
    with made(catalogue, replace(new_collection(), spaces=(histogram, photo, siamese))) as one:
        store.upsert(one, [replace(image(name), vectors={**image(name).vectors, **vectors}) for name in ("a", "b")])
        two = catalogue.change(one.name, lambda now: begun(now, "job", (histogram, newer, siamese)))
        assert ids(store, two.as_other()) == [], "although the space that comes last has both"
        store.fill(two, [replace(image("b"), vectors=vectors)])
        assert (ids(store, two), ids(store, two.as_other())) == (["a", "b"], ["b"])
        later = catalogue.change(one.name, lambda now: switched(now, "job", NOW + timedelta(days=1)))
        assert store_server.catalogue().get(one.name, fresh=True) == later
        assert (ids(store, later), store.count(later, timeout_s=TIMEOUT_S)) == (["b"], 1)
        assert [space.name for space in later.spaces] == ["histogram", "photo", "siamese"]


def _lost() -> None:
    raise Unavailable("write lock", "lost")
