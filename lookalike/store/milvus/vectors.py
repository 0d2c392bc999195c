"""Reading and writing images: the one place where rows of Milvus become images, and its scores become distances.

The gateway searches, gets, pages and deletes with it; the indexer looks up and writes. An image is one row in the physical
collection of each space. Writes go through the spaces in the collection's order and deletes in the reverse one, so that a
row in the last space means: indexed in every space. `get`, `page` and `count` therefore ask the last space.

Where a collection has an other generation beside the current one, all that changes images changes them in both. All that
reads them reads the current one, but `get_by_space` and `get_everywhere`, by which writers decide; `Collection.as_other` is
for reading the other one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.names import MAX_PAGE_SIZE, MAX_TOP_K
from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, Hit, StoredImage
from lookalike.spaces import Metric, Space, Vector
from lookalike.store.filters import compile_filter
from lookalike.store.milvus.changes import Changes
from lookalike.store.milvus.connection import Deadline
from lookalike.store.milvus.expressions import both, id_above, ids_among, ids_not_among
from lookalike.store.milvus.hits import to_hits
from lookalike.store.milvus.rows import IDS_PER_CALL, WRITE_TIMEOUT_S, slices
from lookalike.store.milvus.schema import (
    FACTS,
    ID,
    VECTOR,
    check_image,
    check_vectors,
    from_row,
    row_vector,
    rows_per_write,
    to_row,
)
from lookalike.store.milvus.segments import pending_rows

__all__ = ["MAX_EF", "Consistency", "Hit", "StoredImage", "VectorStore"]

MAX_EF = 32_768
"""Milvus' own limit of `ef` (its documentation, "HNSW")."""
_FLUSH_TIMEOUT_S = 120.0
_LITE_QUERIES_PER_CALL = 4
"""milvus-lite subtracts every row from every query at once: 4 queries over 20,000 rows of 256 take 80 MB there."""


class VectorStore(Changes):
    """The images of every collection of one Milvus. May be used by several threads.

    Every method raises `NotFound` when the collection has been deleted meanwhile, `Unavailable`, `Overloaded`, and
    `DeadlineExceeded` when `timeout_s` is over. Methods that write ask `check` before each call to Milvus and pass on what it
    raises: what they have begun is then as a kill would leave it.
    """

    def upsert(
        self,
        collection: Collection,
        images: Sequence[StoredImage],
        *,
        timeout_s: float = WRITE_TIMEOUT_S,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Write `images` in every space of both generations; of equal ids the last one wins. Idempotent: writing again changes
        nothing.

        Raises before anything is written: `InvalidArgument` (a vector is missing or has the wrong length, metadata is not
        JSON), and `FailedPrecondition` REEMBED_UNDER_WAY where the vectors of the other generation are missing.
        """
        # Milvus keeps both rows of one id that comes twice in one request.
        unique = list({image.id: image for image in images}.values())
        others = [image.as_other() for image in unique] if collection.other_spaces else []
        for image in unique:
            check_image(image, collection.spaces)
        for image in others:
            _check_has_other(collection, image)
            check_image(image, collection.other_spaces)
        places = [(space, unique if space in collection.spaces else others) for space in collection.written]
        self._write(collection, places, Deadline(timeout_s, check))

    def fill(
        self,
        collection: Collection,
        images: Sequence[StoredImage],
        *,
        timeout_s: float = WRITE_TIMEOUT_S,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Write `images`, each id once, in the spaces that only the other generation has; `vectors` are theirs. Idempotent.

        Raises `InvalidArgument` before anything is written, as `upsert`.
        """
        for image in images:
            check_image(image, collection.other_spaces)
        places = [(space, images) for space in collection.written if space in collection.other_spaces]
        self._write(collection, places, Deadline(timeout_s, check))

    def _write(self, collection: Collection, places: Sequence[tuple[Space, Sequence[StoredImage]]], deadline: Deadline) -> None:
        """Write to each space its images, in this order; the same images everywhere, a batch at a time."""
        at_once = rows_per_write(collection.written)
        for start in range(0, len(places[0][1]), at_once):
            for space, images in places:
                rows = [to_row(image, space) for image in images[start : start + at_once]]
                self._call("upsert", collection, space, deadline, data=rows)

    def search(
        self,
        collection: Collection,
        space: str,
        queries: Vector,
        top_k: int,
        *,
        filter: str = "",  # noqa: A002 - the word of the contract
        ef: int,
        consistency: Consistency = Consistency.BOUNDED,
        include_vectors: bool = False,
        exclude_ids: Sequence[str] = (),
        within: float | None = None,
        timeout_s: float,
    ) -> list[list[Hit]]:
        """For each of `queries` (float32 `[n, dimension]`) its at most `top_k` nearest images, nearest first, ties by id.
        Raises `InvalidArgument` (`top_k`, `ef`, `vectors`), `BadFilter`, `NotFound` (space).

        `top_k` is 1 to 1,000; `ef`, the breadth of the HNSW search, 1 to 32,768 (raised to `top_k` where it is less);
        `within` leaves out what is as far or farther. Of images equally far at the end of the list, any may be left out.
        """
        _check_breadth(top_k, ef)
        found = collection.space(space)
        check_vectors("vectors", queries, found)
        expression = both(compile_filter(filter), ids_not_among(exclude_ids) if exclude_ids else "")
        breadth = {"ef": max(ef, top_k)}
        bound = {} if within is None else {"radius": _radius(found.metric, within)}
        answers, deadline = list[list[Hit]](), Deadline(timeout_s)
        at_once = _LITE_QUERIES_PER_CALL if self._connection.is_lite else max(1, len(queries))
        for some in slices(np.ascontiguousarray(queries, np.float32), at_once):
            found_rows = self._call(
                "search",
                collection,
                found,
                deadline,
                data=list(some),
                anns_field=VECTOR,
                filter=expression,
                limit=top_k,
                output_fields=[*FACTS, VECTOR] if include_vectors else list(FACTS),
                search_params={"metric_type": found.metric.value, "params": breadth | bound},
                consistency_level=consistency.value,
            )
            answers += [to_hits(rows, found, include_vectors) for rows in found_rows]
        return answers

    def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        *,
        spaces: Sequence[str] = (),
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> dict[str, StoredImage]:
        """The images among `ids` that are there, by id, with their vectors in `spaces`."""
        deadline = Deadline(timeout_s)
        wanted = [collection.space(name) for name in spaces]
        last = collection.spaces[-1]

        def read(space: Space) -> dict[str, dict[str, Any]]:
            fields = [*(FACTS if space == last else (ID,)), *((VECTOR,) if space in wanted else ())]
            return self._rows_by_id(collection, space, ids, fields, consistency, deadline)

        asked = [last, *(space for space in wanted if space != last)]
        rows = dict(zip(asked, self._at_once(read, asked), strict=True))
        return {
            image_id: from_row(
                row, {space.name: row_vector(rows[space][image_id]) for space in wanted if image_id in rows[space]}
            )
            for image_id, row in rows[last].items()
        }

    def get_everywhere(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, tuple[StoredImage, ...]]:
        """For each of `ids` that is in any space: its row of every space that has it, in write order, without vectors. Strong.

        A tuple shorter than `collection.written` is an image that a killed writer left half written, or that the generation
        that is being filled does not have yet.
        """
        found = self.get_by_space(collection, ids, timeout_s=timeout_s)
        return {image_id: tuple(rows.values()) for image_id, rows in found.items()}

    def get_by_space(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, dict[Space, StoredImage]]:
        """The same with the spaces of either generation that have the row."""
        deadline = Deadline(timeout_s)
        found: dict[str, dict[Space, StoredImage]] = {}
        reads = self._at_once(
            lambda space: self._rows_by_id(collection, space, ids, FACTS, Consistency.STRONG, deadline), collection.written
        )
        for space, rows in zip(collection.written, reads, strict=True):
            for image_id, row in rows.items():
                found.setdefault(image_id, {})[space] = from_row(row)
        return found

    def page(
        self,
        collection: Collection,
        *,
        filter: str = "",  # noqa: A002 - the word of the contract
        after_id: str = "",
        limit: int,
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> list[StoredImage]:
        """The first `limit` (1 to 1,000) images after `after_id` for which `filter` holds, in order of id.

        Ids are ordered by code point, as their UTF-8 bytes are. Raises `BadFilter`, `InvalidArgument` (`page_size`).
        """
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise InvalidArgument("page_size", f"{limit} is out of range; 1 to {MAX_PAGE_SIZE} are allowed")
        expression = both(compile_filter(filter), id_above(after_id))
        last = collection.spaces[-1]
        rows = self._rows_in_order(collection, last, expression, FACTS, limit, consistency, Deadline(timeout_s))
        return [from_row(row) for row in rows]

    def delete(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float, check: Callable[[], None] | None = None
    ) -> int:
        """Delete `ids` in every space; how many of them were there, in any. Deleting what is not there is no error."""
        deadline = Deadline(timeout_s, check)
        found = self._at_once(
            lambda space: self._rows_by_id(collection, space, ids, (ID,), Consistency.STRONG, deadline), collection.written
        )
        there = sorted(set().union(*found))
        for space in reversed(collection.written):
            for some in slices(there, IDS_PER_CALL):
                self._call("delete", collection, space, deadline, filter=ids_among(some))
        return len(there)

    def count(self, collection: Collection, *, timeout_s: float) -> int:
        """How many images there are now, in the space that is written last. Strong."""
        rows = self._call(
            "query",
            collection,
            collection.spaces[-1],
            Deadline(timeout_s),
            filter="",
            output_fields=["count(*)"],
            consistency_level=Consistency.STRONG.value,
        )
        return int(rows[0]["count(*)"])

    def flush(self, collection: Collection, *, wait: bool = True, timeout_s: float = _FLUSH_TIMEOUT_S) -> None:
        """Close the segments that are being written, so that they get their index. Once per job: it costs a second or more.

        What was written is kept and found without it, so that nobody need `wait` until the segments are on the disk (2 s on a
        quiet server); without, this returns when Milvus has closed them.
        """
        deadline = Deadline(timeout_s)
        more = {} if wait else {"_async": True}
        self._at_once(lambda space: self._call("flush", collection, space, deadline, **more), collection.written)

    def pending(self, collection: Collection, *, timeout_s: float = WRITE_TIMEOUT_S) -> int:
        """How many rows, over all spaces, the server still searches without their index; 0 on milvus-lite, which uses none.

        Exact after a `flush`; see `segments`. Stays above 0 for 10-20 s after one.
        """
        deadline = Deadline(timeout_s)
        return sum(
            self._at_once(
                lambda space: pending_rows(self._connection, collection.physical(space.name), collection.name, deadline),
                collection.spaces,
            )
        )


def _radius(metric: Metric, distance: float) -> float:
    """A distance as Milvus takes it: it returns, and so bounds, the squared L2 distance and the cosine. Exclusive."""
    return distance**2 if metric is Metric.L2 else max(-1.0, 1.0 - distance)


def _check_breadth(top_k: int, ef: int) -> None:
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgument("top_k", f"{top_k} is out of range; 1 to {MAX_TOP_K} are allowed")
    if not 1 <= ef <= MAX_EF:
        raise InvalidArgument("ef", f"{ef} is out of range; 1 to {MAX_EF} are allowed")


def _check_has_other(collection: Collection, image: StoredImage) -> None:
    """An image that only the current generation got would be gone after a switch."""
    for space in collection.other_spaces:
        if space.name not in image.vectors:
            raise FailedPrecondition(
                f"collection {collection.name!r} is written in two generations until its re-embedding is over, and image "
                f"{image.id!r} has no vector of fingerprint {space.fingerprint}; write it again then",
                reason="REEMBED_UNDER_WAY",
                metadata={"collection": collection.name, "space": space.name, "fingerprint": space.fingerprint},
            )
