"""What the catalogue holds up while it waits for Milvus: nothing that it remembers already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from lookalike.errors import DeadlineExceeded
from lookalike.records.collection import Collection
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.catalogue import CATALOGUE, MilvusCatalogue, _held
from lookalike.store.milvus.entries import to_entry
from tests.contract.store_samples import new_collection

TIMEOUT_S = 10.0


class SlowMilvus:
    """Rows of the catalogue in memory. A call of `slow` (a method's name) begins, and ends once `let_go` is set."""

    is_lite = False

    def __init__(self, *collections: Collection) -> None:
        self.rows = {one.name: {"name": one.name, "uid": one.uid, "entry": to_entry(one)} for one in collections}
        self.slow = ""
        self.begun, self.let_go = threading.Event(), threading.Event()

    def call(self, method: str, name: str, *, deadline: Deadline, **arguments: Any) -> Any:
        if method == self.slow:
            self.begun.set()
            assert self.let_go.wait(TIMEOUT_S)
        if method == "query":
            return [row for row in self.rows.values() if f'"{row["name"]}"' in arguments["filter"]]
        if method == "upsert" and name == CATALOGUE:
            self.rows |= {row["name"]: row for row in arguments["data"]}
        if method == "delete":
            self.rows = {found: row for found, row in self.rows.items() if f'"{found}"' not in arguments["filter"]}
        return ["index"]

    def has_collection(self, name: str, *, deadline: Deadline) -> bool:
        return True

    def list_collections(self, *, deadline: Deadline) -> list[str]:
        return ["gone__siamese__01234567"]

    def aliases(self, name: str, *, deadline: Deadline) -> list[str]:
        return []


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


Change = Callable[[MilvusCatalogue], object]
CHANGES: dict[str, tuple[str, Change]] = {
    "create": ("create_index", lambda catalogue: catalogue.create(new_collection("made"))),
    "delete": ("drop_collection", lambda catalogue: catalogue.delete("gone")),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_search_finds_its_collection_while_another_one_is_made_or_removed(threads: ThreadPoolExecutor, change: str) -> None:
    known, unknown = new_collection("known"), new_collection("unknown")
    milvus = SlowMilvus(known, unknown, new_collection("gone"))
    catalogue = MilvusCatalogue(milvus, ttl_s=3600)  # type: ignore[arg-type]
    catalogue.get("known")
    milvus.slow, make = CHANGES[change]
    changing: Future[object] = threads.submit(make, catalogue)
    try:
        assert milvus.begun.wait(TIMEOUT_S)
        remembered, read = threads.submit(catalogue.get, "known"), threads.submit(catalogue.get, "unknown")
        assert (remembered.result(TIMEOUT_S), read.result(TIMEOUT_S)) == (known, unknown)
        assert not changing.done()
    finally:
        milvus.let_go.set()
    changing.result(TIMEOUT_S)
    assert ("made" in milvus.rows, "gone" in milvus.rows) == ((True, True) if change == "create" else (False, False))


def test_a_caller_that_waits_for_another_change_waits_no_longer_than_its_deadline() -> None:
    lock = threading.Lock()
    with lock, pytest.raises(DeadlineExceeded), _held(lock, Deadline.after(0.01)):
        pass
    with _held(lock, Deadline.after(TIMEOUT_S)):
        assert lock.locked()
    assert not lock.locked()
