"""Changing what is there, in every store: what matches is found in whatever space it is, new facts leave vectors alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from lookalike.errors import InvalidArgument
from lookalike.filters.parsing import parse
from lookalike.records.collection import Collection
from lookalike.records.filter import Selection
from lookalike.records.image import Consistency
from lookalike.runtime.call import Deadline
from lookalike.store.writable import WritableVectors
from tests.contract.store_samples import TIMEOUT_S, image, made, new_collection
from tests.servers.stores import StoreServer

SPACES = ("histogram", "siamese")


@pytest.fixture(scope="module")
def store(store_server: StoreServer) -> WritableVectors:
    return store_server.vectors


@pytest.fixture(scope="module")
def shared(store_server: StoreServer) -> Iterator[Collection]:
    """A collection for tests that write ids of their own and look at nothing else."""
    with made(store_server.catalogue(), new_collection()) as collection:
        yield collection


def test_ids_are_found_by_filter_and_revision_a_page_at_a_time(store: WritableVectors, shared: Collection) -> None:
    store.upsert(shared, [image(f"m{n:03}", metadata={"set": "m", "n": n}, revision=n % 3 + 1) for n in range(30)])

    def found(selection: Selection, after_id: str = "", limit: int = 1000) -> list[str]:
        return store.matching_ids(shared, selection, after_id=after_id, limit=limit, timeout_s=TIMEOUT_S)

    def ids(*remainders: int) -> list[str]:
        return [f"m{n:03}" for n in range(30) if n % 3 in remainders]

    every = Selection(parse('set = "m"'))
    assert found(every) == ids(0, 1, 2)
    assert found(replace(every, older_than=3)) == ids(0, 1)
    assert found(replace(every, revision=2)) == ids(1)
    assert found(replace(every, revision=2, older_than=2)) == []
    later = Selection(parse('set = "m" AND n >= 10'), older_than=2)
    assert found(later, after_id="m012", limit=3) == ["m015", "m018", "m021"]


def test_ids_are_found_by_what_their_uri_begins_with(store: WritableVectors, shared: Collection) -> None:
    uris = ["file:///p/a.png", "file:///p/b/c.png", "file:///px/d.png", 's3://b/say "x*" %_\\/e.png', "s3://b/say/f.png"]
    store.upsert(shared, [replace(image(f"u{n}", metadata={"set": "u"}), uri=uri) for n, uri in enumerate(uris)])

    def found(prefix: str) -> list[str]:
        return store.matching_ids(shared, Selection(parse('set = "u"'), prefix), limit=1000, timeout_s=TIMEOUT_S)

    assert found("file:///p/") == ["u0", "u1"]
    assert found('s3://b/say "x*" %_\\/') == ["u3"]
    assert found("file:///q/") == []


def test_what_only_one_space_holds_is_found_as_well(
    store_server: StoreServer, store: WritableVectors, shared: Collection
) -> None:
    store.upsert(shared, [image(i, metadata={"set": "half"}) for i in ("h1", "h2", "h3")])
    for space, image_id in zip(SPACES, ("h1", "h2"), strict=True):
        store_server.remove_row(shared.physical(space), image_id)
    half = Selection(parse('set = "half"'))
    assert store.matching_ids(shared, half, limit=2, timeout_s=TIMEOUT_S) == ["h1", "h2"]
    assert store.matching_ids(shared, half, after_id="h2", limit=2, timeout_s=TIMEOUT_S) == ["h3"]


def test_new_facts_keep_the_vectors_of_every_space(store: WritableVectors, shared: Collection) -> None:
    before = [image(f"r{n}", metadata={"old": n}) for n in range(3)]
    store.upsert(shared, before)
    changed = [replace(one, uri="s3://moved", metadata={"new": one.id}, revision=7, vectors={}) for one in before[:2]]
    store.rewrite(shared, [*changed, replace(before[0], id="nobody", vectors={})], Deadline.after(TIMEOUT_S))
    found = store.get(shared, ["r0", "r1", "r2", "nobody"], spaces=SPACES, consistency=Consistency.STRONG, timeout_s=TIMEOUT_S)
    assert set(found) == {"r0", "r1", "r2"}
    for old, new in zip(before, [*changed, replace(before[2], vectors={})], strict=True):
        assert replace(found[old.id], vectors={}) == new
        for space in SPACES:
            np.testing.assert_allclose(found[old.id].vectors[space], old.vectors[space], atol=1e-6)
    everywhere = store.get_everywhere(shared, ["r0", "nobody"], timeout_s=TIMEOUT_S)
    assert {i: [row.revision for row in rows] for i, rows in everywhere.items()} == {"r0": [7, 7]}


def test_facts_that_cannot_be_stored_change_nothing(store: WritableVectors, shared: Collection) -> None:
    good, large = image("f1"), image("f2")
    store.upsert(shared, [good, large])
    with pytest.raises(InvalidArgument, match="metadata"):
        store.rewrite(shared, [replace(good, revision=5), replace(large, metadata={"x": "y" * 20_000})])
    found = store.get_everywhere(shared, ["f1", "f2"], timeout_s=TIMEOUT_S)
    assert {row.revision for rows in found.values() for row in rows} == {1}


def test_the_contents_of_a_space_are_read_a_page_at_a_time(store: WritableVectors, store_server: StoreServer) -> None:
    with made(store_server.catalogue(), new_collection()) as collection:
        written = [replace(image(f"c{n}"), sha256=f"{n:064x}") for n in range(5)]
        store.upsert(collection, written)
        for space in collection.written:
            first = store.contents(collection, space, after_id="", limit=3, timeout_s=TIMEOUT_S)
            rest = store.contents(collection, space, after_id=first[-1][0], limit=3, timeout_s=TIMEOUT_S)
            assert first + rest == [(one.id, one.sha256) for one in written]
