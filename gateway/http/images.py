"""`/v1/collections/{collection}/images` and thumbnails: get, list, delete, update. Adding images is in `ingest`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field, SkipValidation

from gateway.backends.large_answers import is_large, page_parts
from gateway.http import models
from gateway.http.convert import RequestCall, errors, respond, respond_with
from gateway.http.reading import LARGE_BODY_BYTES, ReadingRoute
from gateway.http.search_bodies import ConsistencyName, Filter, Int32
from gateway.images.image_writer import MAX_IDS_PER_WRITE
from gateway.images.images import Images
from lookalike.errors import NotFound
from lookalike.records import image as records
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.images import deletion_message, image_message, update_result_message
from lookalike.wire.search_options import consistency_from

_CACHE = "private, max-age=60"
"""An id may come to name another picture; for a minute a browser may show the old one."""

Freshness = Annotated[ConsistencyName, Query(description="How fresh the answer must be.")]


def _an_object(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("it must be a JSON object")  # noqa: TRY004 - pydantic's own convention
    return value


Metadata = Annotated[SkipValidation[dict[str, Any]], BeforeValidator(_an_object)]
"""Looked at where it is stored, a thousand times at once perhaps; here pydantic would copy it."""


class DeleteImagesBody(BaseModel, extra="forbid"):
    """Which images to delete: either ids or a filter."""

    body_bytes: ClassVar[int] = 2 * 1024 * 1024

    ids: list[models.ImageId] = Field([], max_length=MAX_IDS_PER_WRITE, description="1 to 1,000.")
    filter: Filter = Field("", description="All images for which this holds and that were written before.")


class ImageUpdate(BaseModel, extra="forbid"):
    """New metadata of one image."""

    id: models.ImageId
    metadata: Metadata = Field(description="At most 16 KiB as JSON.")
    merge: bool = Field(False, description="Keep the keys that are not named, and remove those named with null.")


class UpdateImagesBody(BaseModel, extra="forbid"):
    """What to change."""

    body_bytes: ClassVar[int] = LARGE_BODY_BYTES

    updates: list[ImageUpdate] = Field(max_length=MAX_IDS_PER_WRITE, description="1 to 1,000, each of another image.")


class PatchImageBody(BaseModel, extra="forbid"):
    """What to change of one image."""

    body_bytes: ClassVar[int] = 256 * 1024

    metadata: Metadata = Field(description="Keys that are not named are kept, those named with null are removed.")


def images_router(images: Images) -> APIRouter:
    router = APIRouter(prefix="/v1/collections/{collection}", tags=["images"], route_class=ReadingRoute)
    _add_many(router, images)
    _add_writing(router, images)
    _add_one(router, images)
    _add_thumbnail(router, images)
    return router


def _add_many(router: APIRouter, images: Images) -> None:
    @router.get(
        "/images",
        summary="The images in order of id, a page at a time",
        response_model=models.ListImagesResponse,
        responses=errors(400, 404),
    )
    async def list_page(
        collection: models.Name,
        call: RequestCall,
        filter_text: Annotated[Filter, Query(alias="filter", description="Only images for which this holds.")] = "",
        page_size: Annotated[Int32, Query(description="1 to 1,000; 0 means 50.")] = 0,
        page_token: models.PageToken = "",
        consistency: Freshness = "CONSISTENCY_UNSPECIFIED",
        include_vectors: Annotated[bool, Query(description="A page may then be shorter than asked for.")] = False,
    ) -> Response:
        page = await images.page(
            collection,
            filter_text=filter_text,
            page_size=page_size,
            page_token=page_token,
            consistency=consistency_from(pb.Consistency.Value(consistency)),
            call=call,
            include_vectors=include_vectors,
        )
        return await respond_with(
            lambda: next(page_parts(page.images, page.collection.spaces, page.token)), large=is_large(page.images)
        )


def _add_writing(router: APIRouter, images: Images) -> None:
    @router.post(
        "/images:delete",
        summary="Delete several images by id or by filter",
        response_model=models.DeleteImagesResponse,
        responses=errors(400, 404),
    )
    async def delete_many(collection: models.Name, body: DeleteImagesBody, call: RequestCall) -> Response:
        return respond(deletion_message(await images.delete(collection, body.ids, body.filter, call)))

    @router.delete(
        "/images",
        summary="Delete every image for which a filter holds",
        description="May be called again where very many match and its time ends first: what was deleted stays deleted.",
        response_model=models.DeleteImagesResponse,
        responses=errors(400, 404),
    )
    async def delete_matching(
        collection: models.Name, call: RequestCall, filter_text: Annotated[Filter, Query(alias="filter", min_length=1)]
    ) -> Response:
        return respond(deletion_message(await images.delete(collection, [], filter_text, call)))

    @router.post(
        "/images:update",
        summary="New metadata for several images, which are not embedded again",
        response_model=models.UpdateImagesResponse,
        responses=errors(400, 404),
    )
    async def update(collection: models.Name, body: UpdateImagesBody, call: RequestCall) -> Response:
        updates = [records.ImageUpdate(one.id, one.metadata, one.merge) for one in body.updates]
        return respond(update_result_message(await images.update(collection, updates, call)))


def _add_one(router: APIRouter, images: Images) -> None:
    @router.get(
        "/images/{image_id:path}",
        summary="One image; the id is URL-encoded and may hold slashes",
        response_model=models.GetImageResponse,
        responses=errors(400, 404),
    )
    async def get(
        collection: models.Name,
        image_id: models.ImageId,
        call: RequestCall,
        include_vectors: bool = False,
        consistency: Freshness = "CONSISTENCY_UNSPECIFIED",
    ) -> Response:
        freshness = consistency_from(pb.Consistency.Value(consistency))
        found, image = await images.get(collection, image_id, include_vectors=include_vectors, consistency=freshness, call=call)
        return respond(pb.GetImageResponse(image=image_message(image, found.spaces)))

    @router.delete(
        "/images/{image_id:path}",
        summary="Delete one image; deleting what is not there is no error",
        response_model=models.DeleteImagesResponse,
        responses=errors(400, 404),
    )
    async def delete(collection: models.Name, image_id: models.ImageId, call: RequestCall) -> Response:
        return respond(deletion_message(await images.delete(collection, [image_id], "", call)))

    @router.patch(
        "/images/{image_id:path}",
        summary="Change the metadata of one image",
        response_model=models.UpdateImagesResponse,
        responses=errors(400, 404),
    )
    async def patch(collection: models.Name, image_id: models.ImageId, body: PatchImageBody, call: RequestCall) -> Response:
        done = await images.update(collection, [records.ImageUpdate(image_id, body.metadata, merge=True)], call)
        if done.missing_ids:
            raise NotFound("image", image_id, hint=f"collection {collection!r} does not hold it", field="id")
        return respond(update_result_message(done))


def _add_thumbnail(router: APIRouter, images: Images) -> None:
    @router.get(
        "/thumbnail",
        summary="A small JPEG of a stored image",
        response_class=Response,
        responses={
            **errors(400, 404),
            200: {"content": {"image/jpeg": {}}, "description": "JPEG, longest side 160 pixels"},
            304: {"description": "Unchanged since the `ETag` in `If-None-Match`"},
        },
    )
    async def thumbnail(
        collection: models.Name,
        image_id: Annotated[models.ImageId, Query(alias="id", description="Id of the image.")],
        call: RequestCall,
        _version: Annotated[
            models.ImageId, Query(alias="v", description="Anything; another value is asked for anew, past caches.")
        ] = "",
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        made = await images.thumbnail(collection, image_id, call)
        headers = {"ETag": f'"{made.sha256}"', "Cache-Control": _CACHE}
        if if_none_match is not None and headers["ETag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(made.jpeg, media_type="image/jpeg", headers=headers)
