"""The `Vectors` of a Milvus: the one place where rows of Milvus become images, and its scores become distances.

An image is one row in the physical collection of each space. `rows` reads and writes rows, `schema` defines them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lookalike.filters.parsing import condition_of
from lookalike.names import check_page_size
from lookalike.records.collection import Collection
from lookalike.records.filter import Condition, Selection
from lookalike.records.image import Consistency, Hit, ImageView, StoredImage
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.spaces import Metric, Space, Vector, check_vectors
from lookalike.store.checks import check_breadth, check_facts, check_image, check_images
from lookalike.store.milvus.connection import Connection
from lookalike.store.milvus.expressions import both, compiled, id_above, ids_among, ids_not_among, prefixed
from lookalike.store.milvus.rows import CONSISTENCY_LEVELS, IDS_PER_CALL, Rows, slices
from lookalike.store.milvus.schema import (
    FACTS,
    ID,
    REVISION,
    SHA256,
    URI,
    VECTOR,
    from_row,
    row_vector,
    rows_per_write,
    to_row,
)  # fmt: skip
from lookalike.store.protocols import FLUSH_TIMEOUT_S
from lookalike.store.writable import WRITE_TIMEOUT_S

_LITE_QUERIES_PER_CALL = 4
"""Bounds the queries of a call to milvus-lite, which subtracts every row from every query at once: 4 queries over 20,000 rows
of 256 values take 80 MB there."""
_FIELDS: Mapping[ImageView, Sequence[str]] = {ImageView.ID: (ID,), ImageView.BASIC: FACTS, ImageView.FULL: (*FACTS, VECTOR)}
"""What a search reads of its hits."""


class MilvusVectors:
    """The images of every collection of one Milvus. May be used by several threads. `Vectors` and `WritableVectors` say what
    each method does."""

    def __init__(self, connection: Connection) -> None:
        self._rows = Rows(connection)
        self._is_lite = connection.is_lite

    def upsert(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        # Milvus keeps both rows where one request holds an id twice.
        unique = list({image.id: image for image in images}.values())
        check_images(collection, unique)
        others = [image.as_other() for image in unique] if collection.other_spaces else []
        places = [(space, unique if space in collection.spaces else others) for space in collection.written]
        self._write(collection, places, deadline or Deadline.after(WRITE_TIMEOUT_S))

    def fill(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        for image in images:
            check_image(image, collection.other_spaces)
        places = [(space, images) for space in collection.written if space in collection.other_spaces]
        self._write(collection, places, deadline or Deadline.after(WRITE_TIMEOUT_S))

    def _write(self, collection: Collection, places: Sequence[tuple[Space, Sequence[StoredImage]]], deadline: Deadline) -> None:
        """Write each space's images in this order, a batch at a time; every space gets the same images."""
        at_once = rows_per_write(collection.written)
        for start in range(0, len(places[0][1]), at_once):
            for space, images in places:
                rows = [to_row(image, space) for image in images[start : start + at_once]]
                self._rows.call("upsert", collection, space, deadline, data=rows)

    def search(
        self,
        collection: Collection,
        space: str,
        queries: Vector,
        options: SearchOptions,
        *,
        exclude_ids: Sequence[str] = (),
        within: float | None = None,
        timeout_s: float,
    ) -> list[list[Hit]]:
        top_k = options.top_k
        check_breadth(top_k, options.ef)
        found = collection.space(space)
        check_vectors("vectors", queries, found)
        expression = both(compiled(condition_of(options)), ids_not_among(exclude_ids) if exclude_ids else "")
        breadth = {"ef": max(options.ef, top_k)}
        bound = {} if within is None else {"radius": _radius(found.metric, within)}
        answers, deadline = list[list[Hit]](), Deadline.after(timeout_s)
        at_once = _LITE_QUERIES_PER_CALL if self._is_lite else max(1, len(queries))
        for some in slices(np.ascontiguousarray(queries, np.float32), at_once):
            found_rows = self._rows.call(
                "search",
                collection,
                found,
                deadline,
                data=list(some),
                anns_field=VECTOR,
                filter=expression,
                limit=top_k,
                output_fields=list(_FIELDS[options.view]),
                search_params={"metric_type": found.metric.value, "params": breadth | bound},
                consistency_level=CONSISTENCY_LEVELS[options.consistency],
            )
            answers += [_hits(rows, found) for rows in found_rows]
        return answers

    def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        *,
        spaces: Sequence[str] = (),
        facts: bool = True,
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> dict[str, StoredImage]:
        deadline = Deadline.after(timeout_s)
        wanted = [collection.space(name) for name in spaces]
        last = collection.last

        def read(space: Space) -> dict[str, dict[str, Any]]:
            fields = [*(FACTS if facts and space == last else (ID,)), *((VECTOR,) if space in wanted else ())]
            return self._rows.by_id(collection, space, ids, fields, consistency, deadline)

        asked = [last, *(space for space in wanted if space != last)]
        rows = dict(zip(asked, self._rows.at_once(read, asked), strict=True))
        return {
            image_id: from_row(
                row, {space.name: row_vector(rows[space][image_id]) for space in wanted if image_id in rows[space]}
            )
            for image_id, row in rows[last].items()
        }

    def get_everywhere(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, tuple[StoredImage, ...]]:
        found = self.get_by_space(collection, ids, timeout_s=timeout_s)
        return {image_id: tuple(rows.values()) for image_id, rows in found.items()}

    def get_by_space(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, dict[Space, StoredImage]]:
        deadline = Deadline.after(timeout_s)
        found: dict[str, dict[Space, StoredImage]] = {}
        reads = self._rows.at_once(
            lambda space: self._rows.by_id(collection, space, ids, FACTS, Consistency.STRONG, deadline), collection.written
        )
        for space, rows in zip(collection.written, reads, strict=True):
            for image_id, row in rows.items():
                found.setdefault(image_id, {})[space] = from_row(row)
        return found

    def page(
        self,
        collection: Collection,
        *,
        filter: Condition | None = None,  # noqa: A002 - the word of the contract
        after_id: str = "",
        limit: int,
        facts: bool = True,
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> list[StoredImage]:
        check_page_size(limit)
        expression = both(compiled(filter), id_above(after_id))
        last = collection.last
        fields = FACTS if facts else (ID,)
        rows = self._rows.in_order(collection, last, expression, fields, limit, consistency, Deadline.after(timeout_s))
        return [from_row(row) for row in rows]

    def matching_ids(
        self, collection: Collection, selection: Selection, *, after_id: str = "", limit: int, timeout_s: float
    ) -> list[str]:
        deadline = Deadline.after(timeout_s)
        expression = both(compiled(selection.condition), id_above(after_id))
        if selection.uri_prefix:
            expression = both(expression, prefixed(URI, selection.uri_prefix))
        if selection.older_than is not None:
            expression = both(expression, f"{REVISION} < {selection.older_than}")
        if selection.revision is not None:
            expression = both(expression, f"{REVISION} == {selection.revision}")
        pages = self._rows.at_once(
            lambda space: self._rows.in_order(collection, space, expression, (ID,), limit, Consistency.STRONG, deadline),
            collection.written,
        )
        return sorted({str(row[ID]) for rows in pages for row in rows})[:limit]

    def contents(
        self, collection: Collection, space: Space, *, after_id: str, limit: int, timeout_s: float
    ) -> list[tuple[str, str]]:
        rows = self._rows.in_order(
            collection, space, id_above(after_id), (ID, SHA256), limit, Consistency.STRONG, Deadline.after(timeout_s)
        )
        return [(str(row[ID]), str(row[SHA256])) for row in rows]

    def rewrite(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        within = deadline or Deadline.after(WRITE_TIMEOUT_S)
        for image in images:
            check_facts(image)
        facts = {image.id: image for image in images}
        for ids in slices(list(facts), rows_per_write(collection.written)):
            read = self._rows.at_once(
                lambda space, ids=ids: self._rows.by_id(  # type: ignore[misc]  # mypy cannot type a lambda's default
                    collection, space, ids, (ID, VECTOR), Consistency.STRONG, within
                ),
                collection.written,
            )
            for space, rows in zip(collection.written, read, strict=True):
                if rows:
                    self._rows.call(
                        "upsert", collection, space, within, data=[_row(facts[id_], rows[id_], space) for id_ in rows]
                    )

    def delete(self, collection: Collection, ids: Sequence[str], deadline: Deadline | None = None) -> int:
        within = deadline or Deadline.after(WRITE_TIMEOUT_S)
        found = self._rows.at_once(
            lambda space: self._rows.by_id(collection, space, ids, (ID,), Consistency.STRONG, within), collection.written
        )
        there = sorted(set().union(*found))
        for space in reversed(collection.written):
            for some in slices(there, IDS_PER_CALL):
                self._rows.call("delete", collection, space, within, filter=ids_among(some))
        return len(there)

    def count(
        self,
        collection: Collection,
        *,
        filter: Condition | None = None,  # noqa: A002 - the word of the contract
        consistency: Consistency = Consistency.STRONG,
        timeout_s: float,
    ) -> int:
        last, deadline = collection.last, Deadline.after(timeout_s)
        return self._rows.count(collection, last, deadline, compiled(filter), consistency)

    def flush(self, collection: Collection, *, wait: bool = True, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        deadline = Deadline.after(timeout_s)
        more = {} if wait else {"_async": True}
        self._rows.at_once(lambda space: self._rows.call("flush", collection, space, deadline, **more), collection.written)

    def pending(self, collection: Collection, *, timeout_s: float = WRITE_TIMEOUT_S) -> int:
        """The number of rows, over all spaces, that the server still searches without their index; 0 on milvus-lite, which uses
        none.

        The number is exact after a `flush`, and stays above 0 for 10-20 s after it; see `Rows.pending`.
        """
        deadline = Deadline.after(timeout_s)
        return sum(self._rows.at_once(lambda space: self._rows.pending(collection, space, deadline), collection.spaces))


def _radius(metric: Metric, distance: float) -> float:
    """An exclusive bound of the distance as Milvus takes it: as the squared L2 distance, or as the cosine."""
    return distance**2 if metric is Metric.L2 else max(-1.0, 1.0 - distance)


def _row(image: StoredImage, stored: dict[str, Any], space: Space) -> dict[str, Any]:
    return to_row(replace(image, vectors={space.name: row_vector(stored)}), space)


def _hits(answer: Any, space: Space) -> list[Hit]:
    """The hits of one query, nearest first, and by id at equal distance. `answer` is pymilvus' answer for that query."""
    hits = []
    for found in answer:
        row = {**found["entity"], ID: found["id"]}
        vectors = {space.name: row_vector(row)} if VECTOR in row else {}
        hits.append(Hit(from_row(row, vectors), _distance(float(found["distance"]), space.metric)))
    return sorted(hits, key=lambda hit: (hit.distance, hit.image.id))


def _distance(score: float, metric: Metric) -> float:
    """Milvus returns the squared L2 distance, and the cosine itself (its documentation, "Metric types")."""
    return math.sqrt(max(0.0, score)) if metric is Metric.L2 else max(0.0, 1.0 - score)
