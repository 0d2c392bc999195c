"""The unary RPCs of SearchService over the core. Errors are raised; the caller's interceptor or handler words them."""

from __future__ import annotations

import asyncio

from gateway.backends.large_answers import Answer, is_large, is_large_answer, page_parts, search_parts
from gateway.images.images import Images
from gateway.search.search import Search
from lookalike.runtime.call import Call
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.images import (
    delete_from,
    deletion_message,
    given_images_from,
    image_message,
    update_result_message,
    updates_from,
)
from lookalike.wire.paging import page_size_of, place_of, token_after
from lookalike.wire.search import search_from
from lookalike.wire.search_options import consistency_from, view_from


class SearchRpcs:
    def __init__(self, search: Search, images: Images) -> None:
        self._search, self._images = search, images

    async def Search(self, request: pb.SearchRequest, call: Call) -> Answer:
        answer = await self._search.answer(search_from(request), call)
        large = is_large_answer(answer)
        return Answer(search_parts(answer, large=large), large, "options.top_k")

    async def GetImage(self, request: pb.GetImageRequest, call: Call) -> Answer:
        collection, image = await self._images.get(
            request.collection,
            request.id,
            view=view_from(request.view),
            consistency=consistency_from(request.consistency),
            call=call,
        )
        return Answer.whole(lambda: pb.GetImageResponse(image=image_message(image, collection.spaces)), large=is_large([image]))

    async def ListImages(self, request: pb.ListImagesRequest, call: Call) -> Answer:
        page = await self._images.page(
            request.collection,
            filter_text=request.filter,
            limit=page_size_of(request),
            after_id=place_of(request),
            consistency=consistency_from(request.consistency),
            view=view_from(request.view),
            call=call,
        )
        large = is_large(page.images)
        token = token_after(page.last_id, request)
        return Answer(page_parts(page.images, page.collection.spaces, token, large=large), large, "page_size")

    async def CountImages(self, request: pb.CountImagesRequest, call: Call) -> pb.CountImagesResponse:
        consistency = consistency_from(request.consistency)
        count = await self._images.count(request.collection, filter_text=request.filter, consistency=consistency, call=call)
        return pb.CountImagesResponse(count=count)

    async def DeleteImages(self, request: pb.DeleteImagesRequest, call: Call) -> pb.DeleteImagesResponse:
        return deletion_message(await self._images.delete(request.collection, delete_from(request), call))

    async def UpdateImages(self, request: pb.UpdateImagesRequest, call: Call) -> pb.UpdateImagesResponse:
        updates = await asyncio.to_thread(updates_from, request)
        return update_result_message(await self._images.update(request.collection, updates, call))

    async def ImportImages(self, request: pb.ImportImagesRequest, call: Call) -> pb.ImportImagesResponse:
        given = await asyncio.to_thread(given_images_from, request)
        return pb.ImportImagesResponse(
            revision=await self._images.write_given(request.collection, given, call, last=request.last)
        )

    async def GetThumbnail(self, request: pb.GetThumbnailRequest, call: Call) -> pb.GetThumbnailResponse:
        made = await self._images.thumbnail(request.collection, request.id, call)
        return pb.GetThumbnailResponse(jpeg=made.jpeg)
