"""gRPC's SearchService over the core: read the request, call the core, write the answer.

Errors are raised; the interceptor of the server makes statuses of them. The other services stand beside this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc.aio

from gateway.backends.large_answers import (
    batch_parts,
    is_large,
    is_large_answer,
    is_large_outcome,
    page_parts,
    search_parts,
    written,
)
from gateway.calls import DEFAULT_S, MAX_S
from gateway.images.images import Images
from gateway.search.search import Search
from lookalike.errors import InvalidArgument
from lookalike.runtime.call import Call
from lookalike.runtime.channels import remaining_s
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.v1.search_service_pb2_grpc import SearchServiceServicer
from lookalike.wire.images import deletion_message, given_images_from, image_message, update_result_message, updates_from
from lookalike.wire.search import batch_from, query_from
from lookalike.wire.search_options import consistency_from

Context = grpc.aio.ServicerContext[Any, Any]
Answered: TypeAlias = Any
"""The response of a method, or its bytes, which the stubs do not know of."""


def call_of(context: Context) -> Call:
    """The call of an RPC: with the caller's deadline or the default one, never further away than `MAX_S`."""
    return Call.begun(remaining_s(context, default_s=DEFAULT_S, cap_s=MAX_S))


class SearchServicer(SearchServiceServicer):
    def __init__(self, search: Search, images: Images) -> None:
        self._search, self._images = search, images

    async def Search(self, request: search_pb.SearchRequest, context: Context) -> Answered:  # noqa: N802
        answer = await self._search.answer(query_from(request), call_of(context))
        large = is_large_answer(answer)
        return await written(
            search_parts(answer, include_vectors=request.include_vectors, large=large), large=large, field="top_k"
        )

    async def SearchBatch(  # noqa: N802
        self, request: search_pb.SearchBatchRequest, context: Context
    ) -> AsyncIterator[Answered]:
        call = call_of(context)  # first, since reading the batch takes some of the call's time
        outcomes = await self._search.answer_batch(await asyncio.to_thread(batch_from, request), call)
        async with aclosing(outcomes):
            async for index, outcome in outcomes:
                large = is_large_outcome(outcome)
                parts = batch_parts(index, outcome, include_vectors=request.include_vectors, large=large)
                try:
                    yield await written(parts, large=large, field="top_k")
                except InvalidArgument as error:
                    yield next(batch_parts(index, error, include_vectors=False, large=False))

    async def GetImage(self, request: search_pb.GetImageRequest, context: Context) -> search_pb.GetImageResponse:  # noqa: N802
        collection, image = await self._images.get(
            request.collection,
            request.id,
            include_vectors=request.include_vectors,
            consistency=consistency_from(request.consistency),
            call=call_of(context),
        )
        return search_pb.GetImageResponse(image=image_message(image, collection.spaces))

    async def ListImages(self, request: search_pb.ListImagesRequest, context: Context) -> Answered:  # noqa: N802
        page = await self._images.page(
            request.collection,
            filter_text=request.filter,
            page_size=request.page_size,
            page_token=request.page_token,
            consistency=consistency_from(request.consistency),
            call=call_of(context),
            include_vectors=request.include_vectors,
        )
        large = is_large(page.images)
        return await written(
            page_parts(page.images, page.collection.spaces, page.token, large=large), large=large, field="page_size"
        )

    async def DeleteImages(  # noqa: N802
        self, request: search_pb.DeleteImagesRequest, context: Context
    ) -> search_pb.DeleteImagesResponse:
        return deletion_message(await self._images.delete(request.collection, request.ids, request.filter, call_of(context)))

    async def UpdateImages(  # noqa: N802
        self, request: search_pb.UpdateImagesRequest, context: Context
    ) -> search_pb.UpdateImagesResponse:
        call = call_of(context)
        updates = await asyncio.to_thread(updates_from, request)
        updated = await self._images.update(request.collection, updates, call)
        return update_result_message(updated)

    async def ImportImages(  # noqa: N802
        self, request: search_pb.ImportImagesRequest, context: Context
    ) -> search_pb.ImportImagesResponse:
        call = call_of(context)
        given = await asyncio.to_thread(given_images_from, request)
        revision = await self._images.write_given(request.collection, given, call, last=request.last)
        return search_pb.ImportImagesResponse(revision=revision)

    async def GetThumbnail(  # noqa: N802
        self, request: search_pb.GetThumbnailRequest, context: Context
    ) -> search_pb.GetThumbnailResponse:
        made = await self._images.thumbnail(request.collection, request.id, call_of(context))
        return search_pb.GetThumbnailResponse(jpeg=made.jpeg)
