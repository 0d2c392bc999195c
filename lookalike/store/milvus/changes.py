"""Changing images that are there: finding what is to be deleted, and new facts for images that keep their vectors.

Part of `VectorStore`; called by the gateway and the indexer, both under the collection's write lock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from lookalike.records.collection import Collection
from lookalike.records.image import Consistency, StoredImage
from lookalike.spaces import Space
from lookalike.store.filters import compile_filter
from lookalike.store.milvus.connection import Deadline
from lookalike.store.milvus.expressions import both, id_above, prefixed
from lookalike.store.milvus.rows import WRITE_TIMEOUT_S, Rows, slices
from lookalike.store.milvus.schema import ID, REVISION, SHA256, URI, VECTOR, check_facts, row_vector, rows_per_write, to_row


class Changes(Rows):
    """What `VectorStore` can do to images without new vectors."""

    def matching_ids(
        self,
        collection: Collection,
        *,
        filter: str = "",  # noqa: A002 - the word of the contract
        uri_prefix: str = "",
        older_than: int | None = None,
        revision: int | None = None,
        after_id: str = "",
        limit: int,
        timeout_s: float,
    ) -> list[str]:
        """The first `limit` (1 to 1,000) ids after `after_id`, in order, of images for which `filter` holds; Strong.

        Only those whose URI begins with `uri_prefix`, written before revision `older_than`, and at `revision`, where these are
        given. In any space: what a killed delete or write has left in one of them is found too. Raises `BadFilter`.
        """
        deadline = Deadline(timeout_s)
        expression = both(compile_filter(filter), id_above(after_id))
        if uri_prefix:
            expression = both(expression, prefixed(URI, "=", uri_prefix).text)
        if older_than is not None:
            expression = both(expression, f"{REVISION} < {older_than}")
        if revision is not None:
            expression = both(expression, f"{REVISION} == {revision}")
        pages = self._at_once(
            lambda space: self._rows_in_order(collection, space, expression, (ID,), limit, Consistency.STRONG, deadline),
            collection.written,
        )
        return sorted({str(row[ID]) for rows in pages for row in rows})[:limit]

    def contents(
        self, collection: Collection, space: Space, *, after_id: str, limit: int, timeout_s: float
    ) -> list[tuple[str, str]]:
        """(id, SHA-256 of the picture) of the first `limit` (1 to 1,000) rows after `after_id` in `space`, in order; Strong."""
        rows = self._rows_in_order(
            collection, space, id_above(after_id), (ID, SHA256), limit, Consistency.STRONG, Deadline(timeout_s)
        )
        return [(str(row[ID]), str(row[SHA256])) for row in rows]

    def rewrite(
        self,
        collection: Collection,
        images: Sequence[StoredImage],
        *,
        timeout_s: float = WRITE_TIMEOUT_S,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Give images that are there the facts of `images`, in every space that has them; their vectors stay as they are.

        Idempotent. Raises `InvalidArgument` before anything is written.
        """
        deadline = Deadline(timeout_s, check)
        for image in images:
            check_facts(image)
        facts = {image.id: image for image in images}
        for ids in slices(list(facts), rows_per_write(collection.written)):
            read = self._at_once(
                lambda space, ids=ids: self._rows_by_id(  # type: ignore[misc]  # mypy cannot type a lambda's default
                    collection, space, ids, (ID, VECTOR), Consistency.STRONG, deadline
                ),
                collection.written,
            )
            for space, rows in zip(collection.written, read, strict=True):
                if rows:
                    self._call("upsert", collection, space, deadline, data=[_row(facts[id_], rows[id_], space) for id_ in rows])


def _row(image: StoredImage, stored: dict[str, Any], space: Space) -> dict[str, Any]:
    return to_row(dataclasses.replace(image, vectors={space.name: row_vector(stored)}), space)
