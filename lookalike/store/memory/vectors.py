"""The `Vectors` of a store in memory: exact search by the metrics of `lookalike.spaces`, filters by `lookalike.filters`."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lookalike.errors import InvalidArgument
from lookalike.filters.matching import matches
from lookalike.filters.parsing import condition_of
from lookalike.names import check_page_size
from lookalike.records.collection import Collection
from lookalike.records.filter import Condition, Selection
from lookalike.records.image import Consistency, Hit, ImageView, StoredImage
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.spaces import Space, Vector, check_vectors
from lookalike.store.checks import check_breadth, check_facts, check_image, check_images
from lookalike.store.memory.tables import Tables
from lookalike.store.protocols import FLUSH_TIMEOUT_S


class MemoryVectors:
    """The images of every collection in `tables`. May be used by several threads. `Vectors` says what each method does.

    Calls are quick, so `timeout_s` is not used.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

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
        check_breadth(options.top_k, options.ef)
        searched = collection.space(space)
        check_vectors("vectors", queries, searched)
        condition, excluded = condition_of(options), frozenset(exclude_ids)
        everything = self._read(collection, searched, options.consistency).values()
        rows = [row for row in everything if row.id not in excluded and matches(condition, row)]
        if not rows:
            return [[] for _ in queries]
        stored = np.stack([row.vectors[space] for row in rows])
        answers = []
        for query in np.asarray(queries, np.float32):
            distances = np.maximum(searched.metric.distance(query, stored), 0.0)
            found = sorted((float(distance), row.id, row) for distance, row in zip(distances, rows, strict=True))
            near = [hit for hit in found if within is None or hit[0] < within][: options.top_k]
            answers.append([Hit(_seen(row, options.view), distance) for distance, _, row in near])
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
        wanted = [collection.space(name) for name in spaces]
        with self._tables.lock:
            there = self._read(collection, collection.last, consistency)
            rows = {space.name: self._read(collection, space, consistency) for space in wanted}
        return {
            image_id: replace(
                there[image_id] if facts else StoredImage.of_id(image_id, {}),
                vectors={name: of_id[image_id].vectors[name] for name, of_id in rows.items() if image_id in of_id},
            )
            for image_id in ids
            if image_id in there
        }

    def get_everywhere(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, tuple[StoredImage, ...]]:
        found = self.get_by_space(collection, ids, timeout_s=timeout_s)
        return {image_id: tuple(rows.values()) for image_id, rows in found.items()}

    def get_by_space(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, dict[Space, StoredImage]]:
        everywhere = self._read_everywhere(collection)
        found = {
            image_id: {space: _facts(rows[image_id]) for space, rows in everywhere.items() if image_id in rows}
            for image_id in ids
        }
        return {image_id: rows for image_id, rows in found.items() if rows}

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
        rows = self._read(collection, collection.last, consistency)
        view = ImageView.BASIC if facts else ImageView.ID
        return [_seen(row, view) for row in _in_order(rows.values(), after_id) if matches(filter, row)][:limit]

    def matching_ids(
        self, collection: Collection, selection: Selection, *, after_id: str = "", limit: int, timeout_s: float
    ) -> list[str]:
        def is_meant(row: StoredImage) -> bool:
            return (
                row.uri.startswith(selection.uri_prefix)
                and (selection.older_than is None or row.revision < selection.older_than)
                and selection.revision in (None, row.revision)
                and matches(selection.condition, row)
            )

        everywhere = self._read_everywhere(collection)
        found = {row.id for rows in everywhere.values() for row in _in_order(rows.values(), after_id) if is_meant(row)}
        return sorted(found)[:limit]

    def contents(
        self, collection: Collection, space: Space, *, after_id: str, limit: int, timeout_s: float
    ) -> list[tuple[str, str]]:
        rows = self._read(collection, space, Consistency.STRONG)
        return [(row.id, row.sha256) for row in _in_order(rows.values(), after_id)][:limit]

    def count(
        self,
        collection: Collection,
        *,
        filter: Condition | None = None,  # noqa: A002 - the word of the contract
        consistency: Consistency = Consistency.STRONG,
        timeout_s: float,
    ) -> int:
        rows = self._read(collection, collection.last, consistency)
        return sum(1 for row in rows.values() if matches(filter, row))

    def upsert(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        check_images(collection, images)
        others = [image.as_other() for image in images] if collection.other_spaces else []
        places = {space: images if space in collection.spaces else others for space in collection.written}
        self._write(collection, places, deadline)

    def fill(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        for image in images:
            check_image(image, collection.other_spaces)
        self._write(collection, {space: images for space in collection.written if space in collection.other_spaces}, deadline)

    def rewrite(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        for image in images:
            check_facts(image)
        with self._tables.lock:
            for space, rows in self._read_everywhere(collection).items():
                there = [replace(image, vectors=rows[image.id].vectors) for image in images if image.id in rows]
                self._write(collection, {space: there}, deadline)

    def delete(self, collection: Collection, ids: Sequence[str], deadline: Deadline | None = None) -> int:
        with self._tables.lock:
            there = {image_id for rows in self._read_everywhere(collection).values() for image_id in ids if image_id in rows}
            for space in reversed(collection.written):
                _ask(deadline)
                self._tables.remove(collection.physical_of(space), there, subject=collection.name)
            return len(there)

    def flush(self, collection: Collection, *, wait: bool = True, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        self._read_everywhere(collection)  # Raises `NotFound` where it has been deleted.

    def _read(self, collection: Collection, space: Space, consistency: Consistency) -> Mapping[str, StoredImage]:
        return self._tables.read(collection.physical_of(space), consistency, subject=collection.name)

    def _read_everywhere(self, collection: Collection) -> dict[Space, Mapping[str, StoredImage]]:
        """The rows of every space as they are now, in write order."""
        with self._tables.lock:
            return {space: self._read(collection, space, Consistency.STRONG) for space in collection.written}

    def _write(self, collection: Collection, places: Mapping[Space, Sequence[StoredImage]], deadline: Deadline | None) -> None:
        written = {space: [_row(image, space) for image in images] for space, images in places.items()}
        with self._tables.lock:
            for space, rows in written.items():
                _ask(deadline)
                self._tables.put(collection.physical_of(space), rows, subject=collection.name)


def _ask(deadline: Deadline | None) -> None:
    """Raise the error that `deadline` raises before a step of a write."""
    if deadline is not None:
        deadline.remaining_s()


def _row(image: StoredImage, space: Space) -> StoredImage:
    """A copy of `image` that its owner cannot change, with its vector in `space` alone, and with metadata as JSON keeps it."""
    if image.index_time is None or image.index_time.tzinfo is None:
        raise InvalidArgument("index_time", "is missing, or has no time zone")
    vector = np.array(image.vectors[space.name], np.float32)
    vector.setflags(write=False)
    return replace(
        image,
        metadata=json.loads(json.dumps(dict(image.metadata))),
        index_time=image.index_time.astimezone(datetime.UTC),
        vectors={space.name: vector},
        other_vectors={},
    )


def _facts(row: StoredImage) -> StoredImage:
    return replace(row, vectors={})


def _seen(row: StoredImage, view: ImageView) -> StoredImage:
    match view:
        case ImageView.ID:
            return StoredImage.of_id(row.id, {})
        case ImageView.BASIC:
            return _facts(row)
        case ImageView.FULL:
            return row


def _in_order(rows: Iterable[StoredImage], after_id: str) -> list[StoredImage]:
    """The rows after `after_id`, in order of id."""
    return sorted((row for row in rows if row.id > after_id), key=lambda row: row.id)
