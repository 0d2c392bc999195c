"""The client's methods for images: search, get, list, delete, update, import, thumbnail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from lookalike.client import _checked
from lookalike.client._arguments import flag, member, records, spaces_of, text, texts, whole, whole64
from lookalike.client._channel import Calls
from lookalike.client.batches import Query, answered, check_one
from lookalike.client.options import SearchKeywords, names_options, search_options
from lookalike.records.image import Consistency, Delete, Deletion, Image, ImageUpdate, ImageView, UpdateResult
from lookalike.records.search import BatchAnswer, SearchRequest, SearchResult
from lookalike.spaces import Space, Vector
from lookalike.v1 import search_service_pb2
from lookalike.wire.images import (
    delete_message,
    deletion_from,
    given_image_message,
    image_from,
    update_message,
    update_result_from,
)
from lookalike.wire.search import search_message, search_result_from
from lookalike.wire.search_options import consistency_number, options_message, view_number


class SearchCalls(Calls):
    """`SearchService`, typed."""

    @names_options
    def search(
        self,
        collection: str,
        *,
        image: bytes | Path | None = None,
        vectors: Mapping[str, Vector] | None = None,
        image_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SearchKeywords],
    ) -> SearchResult:
        """Return the images of `collection` that look most like the query, nearest first.

        The query is exactly one of `image` (encoded, at most 20 MB; bytes, or the `Path` of its file), `vectors` (by space,
        float32 `[dimension]`) and `image_id` (of a stored image, which is left out of the answer). `spaces` is one name or
        several: none means `siamese`, and two are fused with `weights` (by space, above 0, default 1). `top_k` is 1 to 1,000
        (default 5). `ef` is the breadth of the search, `top_k` to 32,768; 0 leaves it to the server. `consistency` and `view`
        are members or their values, such as `"strong"`; with `view="full"` the neighbours have their vectors, with `"id"`
        nothing but their ids.

        Raises `InvalidArgument` (also `BadImage`, `BadFilter`), `NotFound`, `FailedPrecondition`, `Overloaded`,
        `DeadlineExceeded`, `Unavailable`.
        """
        check_one(image, vectors, image_id)
        name, how = text("collection", collection), search_options(**options)
        request = search_message(SearchRequest(name, _checked.query(image, vectors, image_id), how))
        return search_result_from(self._call(self._search.Search, request, timeout_s))

    @names_options
    def search_many(
        self,
        collection: str,
        queries: Iterable[Query] | Query,
        *,
        timeout_s: float | None = None,
        **options: Unpack[SearchKeywords],
    ) -> Iterator[BatchAnswer]:
        """Search for any number of queries, in far fewer calls than `search` in a loop; return each answer as it is ready.

        The options are those of `search`. Queries are read as they are needed, up to 256 or 16 MiB for each request. Within a
        request answers come in any order; the next request is sent when all of them were taken. `timeout_s` is for each
        request. An error of one query is the `error` of its answer. An error of a whole request is raised, as by `search`.
        """
        name, how = text("collection", collection), options_message(search_options(**options))
        with_deadline_s = self._deadline(timeout_s)

        def ask(some: list[search_service_pb2.BatchQuery]) -> Iterator[search_service_pb2.SearchBatchResponse]:
            request = search_service_pb2.SearchBatchRequest(collection=name, queries=some, options=how)
            return self._stream(lambda: self._search.SearchBatch(request, timeout=with_deadline_s))

        return answered(records("queries", queries, Query), ask)

    def get_image(
        self,
        collection: str,
        image_id: str,
        *,
        view: ImageView | str = ImageView.BASIC,
        consistency: Consistency | str = Consistency.BOUNDED,
        timeout_s: float | None = None,
    ) -> Image:
        """Return a stored image; `view` says how much of it, as in `search`.

        Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`.
        """
        request = search_service_pb2.GetImageRequest(
            collection=text("collection", collection),
            id=text("image_id", image_id),
            view=view_number(member("view", view, ImageView)),
            consistency=consistency_number(member("consistency", consistency, Consistency)),
        )
        return image_from(self._call(self._search.GetImage, request, timeout_s).image)

    def list_images(
        self,
        collection: str,
        *,
        filter: str = "",  # noqa: A002 - the contract's own word
        page_size: int = 200,
        view: ImageView | str = ImageView.BASIC,
        consistency: Consistency | str = Consistency.BOUNDED,
        timeout_s: float | None = None,
    ) -> Iterator[Image]:
        """Return every image that matches the filter, in order of id, fetched `page_size` (1 to 1,000) at a time.

        `view` says how much of each, as in `search`. `timeout_s` is for each page. Raises `NotFound`, `InvalidArgument`,
        `DeadlineExceeded`, `Unavailable`.
        """
        request = search_service_pb2.ListImagesRequest(
            collection=text("collection", collection),
            filter=text("filter", filter),
            page_size=whole("page_size", page_size, "1 to 1,000"),
            view=view_number(member("view", view, ImageView)),
            consistency=consistency_number(member("consistency", consistency, Consistency)),
        )
        pages = self._pages(self._search.ListImages, request, self._deadline(timeout_s))
        return (image_from(message) for page in pages for message in page.images)

    def count_images(
        self,
        collection: str,
        *,
        filter: str = "",  # noqa: A002 - the contract's own word
        consistency: Consistency | str = Consistency.BOUNDED,
        timeout_s: float | None = None,
    ) -> int:
        """Return the number of images that match the filter. Raises as `list_images`."""
        request = search_service_pb2.CountImagesRequest(
            collection=text("collection", collection),
            filter=text("filter", filter),
            consistency=consistency_number(member("consistency", consistency, Consistency)),
        )
        return self._call(self._search.CountImages, request, timeout_s).count

    def delete_images(
        self,
        collection: str,
        ids: Sequence[str] | str = (),
        *,
        filter: str = "",  # noqa: A002 - the contract's own word
        validate_only: bool = False,
        expected_revision: int | None = None,
        timeout_s: float | None = None,
    ) -> Deletion:
        """Delete 1 to 1,000 images by id, or all that match `filter`, in every space. Unknown ids are no error.

        With `validate_only` nothing is deleted: the answer says how many images would be, and names up to 10 of them. With
        `expected_revision` a single image is deleted only if it has that revision; else `RevisionMismatch` is raised.

        `ids` is one id or several. A delete by filter may run out of time (the server gives it 60 s at most): images that it
        deleted stay deleted, and the same call continues. The client never retries a delete: a second delete is a later write.
        Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`.
        """
        asked = Delete(
            texts("ids", ids),
            text("filter", filter),
            flag("validate_only", validate_only),
            None if expected_revision is None else whole64("expected_revision", expected_revision, "from 1 on"),
        )
        answer = self._call(self._search.DeleteImages, delete_message(text("collection", collection), asked), timeout_s)
        return deletion_from(answer)

    def update_images(
        self, collection: str, updates: Sequence[ImageUpdate] | ImageUpdate, *, timeout_s: float | None = None
    ) -> UpdateResult:
        """Give 1 to 1,000 images new metadata; they are not embedded again. Unknown ids are returned, and no error. Where an
        image has another revision than its update expects, `RevisionMismatch` is raised, and no image is changed.

        The client never retries an update: a second update is a later write. Raises `NotFound` (collection), `InvalidArgument`,
        `DeadlineExceeded`, `Unavailable`.
        """
        request = search_service_pb2.UpdateImagesRequest(
            collection=text("collection", collection),
            updates=[
                update_message(_checked.image_update(update, f"updates[{index}]"))
                for index, update in enumerate(records("updates", updates, ImageUpdate))
            ],
        )
        answer = self._call(self._search.UpdateImages, request, timeout_s)
        return update_result_from(answer)

    def import_images(
        self,
        collection: str,
        images: Sequence[Image] | Image,
        spaces: Sequence[Space] | Space,
        *,
        last: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Write 1 to 1,000 images with vectors that were made before, in `spaces`; return the revision of the write.

        They replace images with the same ids, and get the revision of the write instead of their own. `last` says that no more
        come, so that the server begins to index them. Raises `NotFound`, `InvalidArgument`, `FailedPrecondition` (fingerprints
        differ), `DeadlineExceeded`, `Unavailable`.
        """
        made_in = spaces_of(spaces)
        request = search_service_pb2.ImportImagesRequest(
            collection=text("collection", collection),
            images=[
                given_image_message(_checked.given_image(image, made_in, f"images[{index}]"))
                for index, image in enumerate(records("images", images, Image))
            ],
            last=flag("last", last),
        )
        return self._call(self._search.ImportImages, request, timeout_s).revision

    def thumbnail(self, collection: str, image_id: str, *, timeout_s: float | None = None) -> bytes:
        """Return a JPEG of a stored image, longest side 160 pixels. Raises `NotFound`, `FailedPrecondition`, `Unavailable`."""
        request = search_service_pb2.GetThumbnailRequest(
            collection=text("collection", collection), id=text("image_id", image_id)
        )
        return self._call(self._search.GetThumbnail, request, timeout_s).jpeg
