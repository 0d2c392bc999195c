"""The images of a collection: get, list, delete, update, write, thumbnail. Entered by gRPC and HTTP alike."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.backends.embedder import Embedder
from gateway.backends.large_answers import is_large
from gateway.backends.milvus import Backends, find_collection
from gateway.backends.threads import Threads, off_loop
from gateway.images.given_vectors import how_many_fit, images_per_answer
from gateway.images.image_writer import ImageWriter, check_deletable, check_updates
from gateway.search.filtering import is_long, parsed
from lookalike.errors import FailedPrecondition, NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.names import MAX_PAGE_SIZE, check_id, check_name
from lookalike.records.collection import Collection
from lookalike.records.filter import Condition
from lookalike.records.image import Consistency, Delete, Deletion, GivenImage, ImageUpdate, ImageView, StoredImage, UpdateResult
from lookalike.runtime.call import Call, Deadline
from lookalike.sources import Artifacts, Reader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Images in order of id, their collection, and the id of the last one where more follow ("" on the last page)."""

    collection: Collection
    images: list[StoredImage]
    last_id: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG, and the SHA-256 of the picture it was made of, which shows when that has changed."""

    jpeg: bytes
    sha256: str


class Images:
    """One per process, used from one event loop."""

    def __init__(
        self,
        backends: Backends,
        ledger: Ledger,
        embedder: Embedder,
        artifacts: Artifacts,
        reader: Reader,
        threads: Threads,
    ) -> None:
        self._backends, self._embedder = backends, embedder
        self._writer = ImageWriter(backends, ledger)
        self._artifacts, self._reader, self._threads = artifacts, reader, threads

    async def get(
        self, name: str, image_id: str, *, view: ImageView, consistency: Consistency, call: Call
    ) -> tuple[Collection, StoredImage]:
        """One image with its collection. Raises `NotFound` for either."""
        check_id("id", image_id)
        collection = await self._collection(name, call)
        image = (await self._get(collection, [image_id], view, consistency, call)).get(image_id)
        if image is None:
            raise NotFound("image", image_id, hint=f"collection {name!r} does not hold it", field="id")
        return collection, image

    async def page(
        self,
        name: str,
        *,
        filter_text: str,
        limit: int,
        after_id: str,
        view: ImageView,
        consistency: Consistency,
        call: Call,
    ) -> Page:
        """At most `limit` (1 to 1,000) images after `after_id`, in order of id; fewer where they would not fit into one
        answer."""
        condition = await parsed(filter_text)
        collection = await self._collection(name, call)
        if view is not ImageView.FULL:
            images, last_id = await self._page(collection, condition, after_id, limit, view, consistency, call)
        else:
            limit = min(limit, images_per_answer(collection.spaces))
            found, last_id = await self._page(collection, condition, after_id, limit, ImageView.ID, consistency, call)
            images = await self._with_vectors(collection, [image.id for image in found], consistency, call)
        return Page(collection, images, last_id)

    async def count(self, name: str, *, filter_text: str, consistency: Consistency, call: Call) -> int:
        """How many images the filter holds for."""
        condition = await parsed(filter_text)
        collection = await self._collection(name, call)

        def count() -> int:
            left_s = call.deadline.remaining_s()
            return self._backends.vectors.count(collection, filter=condition, consistency=consistency, timeout_s=left_s)

        return await self._run(count, call.deadline)

    async def _with_vectors(
        self, collection: Collection, ids: Sequence[str], consistency: Consistency, call: Call
    ) -> list[StoredImage]:
        """Those of `ids` that are still there, in every space."""
        there = await self._get(collection, ids, ImageView.FULL, consistency, call) if ids else {}
        wanted = len(collection.spaces)
        return [there[image_id] for image_id in ids if image_id in there and len(there[image_id].vectors) == wanted]

    async def _page(
        self,
        collection: Collection,
        condition: Condition | None,
        after_id: str,
        limit: int,
        view: ImageView,
        consistency: Consistency,
        call: Call,
    ) -> tuple[list[StoredImage], str]:
        """The images, and the id of the last one where there are more after it ("" on the last page)."""
        images = await self._read(collection, condition, after_id, min(limit + 1, MAX_PAGE_SIZE), view, consistency, call)
        if is_large(images) and (fits := await off_loop(lambda: how_many_fit(images), large=True)) < len(images):
            limit = min(limit, fits)
        if len(images) < limit:
            return images, ""
        page, last_id = images[:limit], images[limit - 1].id
        # An image beyond the page shows that there is a next one. The largest page leaves no room for it, so it is read apart.
        more = images[limit:] or await self._read(collection, condition, last_id, 1, ImageView.ID, consistency, call)
        return page, last_id if more else ""

    async def delete(self, name: str, asked: Delete, call: Call) -> Deletion:
        """Delete by id or by filter, in every space; or say what would be deleted."""
        check_name("collection", name)
        condition = await off_loop(lambda: check_deletable(asked), large=is_long(asked.filter))

        def delete() -> Deletion:
            if asked.validate_only:
                return self._writer.would_delete(name, asked, condition, call.deadline)
            if condition is not None:
                return self._writer.delete_matching(name, call.deadline, condition=condition)
            return self._writer.delete(name, asked.ids, call.deadline, expected_revision=asked.expected_revision)

        return await self._run(delete, call.deadline)

    async def update(self, name: str, updates: Sequence[ImageUpdate], call: Call) -> UpdateResult:
        """New metadata for images that keep their vectors."""
        check_name("collection", name)
        await off_loop(lambda: check_updates(updates), large=len(updates) > 1)
        return await self._run(lambda: self._writer.update(name, updates, call.deadline), call.deadline)

    async def write_given(self, name: str, images: Sequence[GivenImage], call: Call, *, last: bool) -> int:
        """Write images with the vectors that they bring, as an export holds them; the revision of the write."""
        check_name("collection", name)
        return await self._run(lambda: self._writer.write_given(name, images, call.deadline, last=last), call.deadline)

    async def thumbnail(self, name: str, image_id: str, call: Call) -> Thumbnail:
        """A small JPEG of a stored image, made once and kept in the artifacts."""
        _, image = await self.get(name, image_id, view=ImageView.BASIC, consistency=Consistency.BOUNDED, call=call)
        path = self._artifacts.thumbnail_path(image.sha256)
        kept = await self._run(lambda: self._kept(path), call.deadline)
        if kept is not None:
            return Thumbnail(kept, image.sha256)
        original = await self._run(lambda: self._original(image), call.deadline)
        jpeg = await self._embedder.thumbnail(original, call.deadline)
        await self._run(lambda: self._artifacts.write(path, jpeg), call.deadline)
        return Thumbnail(jpeg, image.sha256)

    async def _read(
        self,
        collection: Collection,
        condition: Condition | None,
        after_id: str,
        limit: int,
        view: ImageView,
        consistency: Consistency,
        call: Call,
    ) -> list[StoredImage]:
        def page() -> list[StoredImage]:
            timeout_s = call.deadline.remaining_s()  # In the thread, since the wait for it has taken some of the time.
            return self._backends.vectors.page(
                collection,
                filter=condition,
                after_id=after_id,
                limit=limit,
                facts=view is not ImageView.ID,
                consistency=consistency,
                timeout_s=timeout_s,
            )

        return await self._run(page, call.deadline)

    async def _get(
        self, collection: Collection, ids: Sequence[str], view: ImageView, consistency: Consistency, call: Call
    ) -> dict[str, StoredImage]:
        spaces = [space.name for space in collection.spaces] if view is ImageView.FULL else []
        facts = view is not ImageView.ID

        def get() -> dict[str, StoredImage]:
            timeout_s = call.deadline.remaining_s()
            return self._backends.vectors.get(
                collection, ids, spaces=spaces, facts=facts, consistency=consistency, timeout_s=timeout_s
            )

        return await self._run(get, call.deadline)

    async def _collection(self, name: str, call: Call) -> Collection:
        check_name("collection", name)
        return await self._run(lambda: find_collection(self._backends, name), call.deadline)

    def _kept(self, path: str) -> bytes | None:
        return self._artifacts.read(path) if self._artifacts.exists(path) else None

    def _original(self, image: StoredImage) -> bytes:
        """The encoded picture that was indexed: the uploaded original if there is one, else what its URI names."""
        try:
            content = self._reader.read(self._artifacts.original_uri(image.sha256))
        except NotFound:
            if not image.uri:
                raise NotFound("original", image.id, hint="it has no URI and was not uploaded") from None
            content = self._reader.read(image.uri)
        if hashlib.sha256(content).hexdigest() != image.sha256:
            raise FailedPrecondition(
                f"what is at the URI of image {image.id!r} has changed since it was indexed; ingest it again",
                reason="SOURCE_CHANGED",
            )
        return content

    async def _run(self, call: Callable[[], T], deadline: Deadline) -> T:
        return await self._threads.run(call, deadline)
