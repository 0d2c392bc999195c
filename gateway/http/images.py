"""`/v1/collections/{collection}/images` and thumbnails: get, list, delete. Adding images is in `ingest`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from gateway.http import models
from gateway.http.convert import RequestDeadline, errors, respond
from gateway.http.search import ConsistencyName, Int32
from gateway.images import Images
from gateway.messages import consistency_from, image_message, spaces_by_name
from lookalike.v1 import search_service_pb2 as pb

_CACHE = "private, max-age=60"
"""An id may come to name another picture; for a minute a browser may show the old one."""

Freshness = Annotated[ConsistencyName, Query(description="How fresh the answer must be.")]


class DeleteImagesBody(BaseModel, extra="forbid"):
    """Which images to delete."""

    ids: list[str] = Field(description="1 to 1,000.")


def images_router(images: Images) -> APIRouter:
    router = APIRouter(prefix="/v1/collections/{collection}", tags=["images"])
    _add_many(router, images)
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
        collection: str,
        deadline: RequestDeadline,
        filter_text: Annotated[str, Query(alias="filter", description="Only images for which this holds.")] = "",
        page_size: Annotated[Int32, Query(description="1 to 1,000; 0 means 50.")] = 0,
        page_token: str = "",
        consistency: Freshness = "CONSISTENCY_UNSPECIFIED",
    ) -> JSONResponse:
        found, token = await images.page(
            collection,
            filter_text=filter_text,
            page_size=page_size,
            page_token=page_token,
            consistency=consistency_from(pb.Consistency.Value(consistency)),
            deadline=deadline,
        )
        return respond(pb.ListImagesResponse(images=[image_message(image, {}) for image in found], next_page_token=token))

    @router.post(
        "/images:delete",
        summary="Delete several images by id",
        response_model=models.DeleteImagesResponse,
        responses=errors(400, 404),
    )
    async def delete_many(collection: str, body: DeleteImagesBody, deadline: RequestDeadline) -> JSONResponse:
        deleted, revision = await images.delete(collection, body.ids, deadline)
        return respond(pb.DeleteImagesResponse(deleted=deleted, revision=revision))


def _add_one(router: APIRouter, images: Images) -> None:
    @router.get(
        "/images/{image_id:path}",
        summary="One image; the id is URL-encoded and may hold slashes",
        response_model=models.GetImageResponse,
        responses=errors(400, 404),
    )
    async def get(
        collection: str,
        image_id: str,
        deadline: RequestDeadline,
        include_vectors: bool = False,
        consistency: Freshness = "CONSISTENCY_UNSPECIFIED",
    ) -> JSONResponse:
        freshness = consistency_from(pb.Consistency.Value(consistency))
        found, image = await images.get(
            collection, image_id, include_vectors=include_vectors, consistency=freshness, deadline=deadline
        )
        return respond(pb.GetImageResponse(image=image_message(image, spaces_by_name(found.spaces))))

    @router.delete(
        "/images/{image_id:path}",
        summary="Delete one image; deleting what is not there is no error",
        response_model=models.DeleteImagesResponse,
        responses=errors(400, 404),
    )
    async def delete(collection: str, image_id: str, deadline: RequestDeadline) -> JSONResponse:
        deleted, revision = await images.delete(collection, [image_id], deadline)
        return respond(pb.DeleteImagesResponse(deleted=deleted, revision=revision))


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
        collection: str,
        image_id: Annotated[str, Query(alias="id", description="Id of the image.")],
        deadline: RequestDeadline,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        made = await images.thumbnail(collection, image_id, deadline)
        headers = {"ETag": f'"{made.sha256}"', "Cache-Control": _CACHE}
        if if_none_match is not None and headers["ETag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(made.jpeg, media_type="image/jpeg", headers=headers)
