"""Routes of images that `routes` cannot make: new metadata, one image by its path, thumbnails as files.

Metadata goes to the core as JSON had it. As messages, that of a thousand images would be copied in one go, which takes protobuf
0.4 s under Python's lock.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from gateway.http.convert import RequestCall, errors, respond
from gateway.http.models import Filter, ImageId, ImageIdInPath, Name, answer_model, comment, request_model
from gateway.http.reading import LARGE_BODY_BYTES, ReadingRoute
from gateway.http.routes import by_contract
from gateway.images.images import Images
from lookalike.errors import NotFound
from lookalike.records.image import Delete, ImageUpdate
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.images import deletion_message, update_result_message

_CACHE = "private, max-age=60"
"""An id may come to name another picture; for a minute a browser may show the old one."""
_IMAGE, _IMAGES = "/v1/collections/{collection}/images/{id:path}", "/v1/collections/{collection}/images"

_DELETE = pb.DeleteImagesRequest.DESCRIPTOR.full_name

_Update = request_model(pb.UpdateImagesRequest.DESCRIPTOR, without=frozenset({"collection"}), body_bytes=LARGE_BODY_BYTES)
_Patch = request_model(pb.ImageUpdate.DESCRIPTOR, without=frozenset({"id", "merge"}), body_bytes=256 * 1024)


class UpdateImagesRequest(_Update):  # type: ignore[misc, valid-type]  # made at run time
    """What to change."""


class PatchImageRequest(_Patch):  # type: ignore[misc, valid-type]  # made at run time
    """What to change of one image."""


def images_router(images: Images) -> APIRouter:
    router = APIRouter(route_class=ReadingRoute)
    _add_updating(router, images)
    _add_deleting(router, images)
    _add_thumbnail(router, images)
    return router


def _add_updating(router: APIRouter, images: Images) -> None:
    @router.api_route(**by_contract("UpdateImages"))
    async def update(collection: Name, body: UpdateImagesRequest, call: RequestCall) -> Response:
        updates = [ImageUpdate(one.id, one.metadata, one.merge, one.expected_revision) for one in body.updates]
        return await respond(update_result_message(await images.update(collection, updates, call)))

    @router.patch(
        _IMAGE,
        operation_id="PatchImage",
        summary="Change the metadata of one image",
        description="Keys that are not named are kept, those named with null are removed.",
        tags=["images"],
        response_model=answer_model(pb.UpdateImagesResponse.DESCRIPTOR),
        responses=errors(400, 404, 409, 413),
    )
    async def patch(collection: Name, image_id: ImageIdInPath, body: PatchImageRequest, call: RequestCall) -> Response:
        asked = ImageUpdate(image_id, body.metadata, merge=True, expected_revision=body.expected_revision)
        done = await images.update(collection, [asked], call)
        if done.missing_ids:
            raise NotFound("image", image_id, hint=f"collection {collection!r} does not hold it", field="id")
        return await respond(update_result_message(done))


def _add_deleting(router: APIRouter, images: Images) -> None:
    deleted: dict[str, Any] = {
        "tags": ["images"],
        "response_model": answer_model(pb.DeleteImagesResponse.DESCRIPTOR),
        "responses": errors(400, 404, 409),
    }

    @router.delete(
        _IMAGES,
        operation_id="DeleteMatchingImages",
        summary="Delete every image for which a filter holds",
        description="May be called again where very many match and its time ends first: what was deleted stays deleted.",
        **deleted,
    )
    async def delete_matching(
        collection: Name,
        call: RequestCall,
        filter_text: Annotated[Filter, Query(alias="filter", min_length=1)],
        validate_only: Annotated[bool, Query(description=comment(f"{_DELETE}.validate_only"))] = False,
    ) -> Response:
        asked = Delete(filter=filter_text, validate_only=validate_only)
        return await respond(deletion_message(await images.delete(collection, asked, call)))

    @router.delete(
        _IMAGE, operation_id="DeleteImage", summary="Delete one image; deleting what is not there is no error", **deleted
    )
    async def delete(
        collection: Name,
        image_id: ImageIdInPath,
        call: RequestCall,
        expected_revision: Annotated[int | None, Query(description="Delete it only if this is its `revision`.")] = None,
    ) -> Response:
        asked = Delete((image_id,), expected_revision=expected_revision)
        return await respond(deletion_message(await images.delete(collection, asked, call)))


def _add_thumbnail(router: APIRouter, images: Images) -> None:
    responses: dict[int | str, Any] = {
        **errors(400, 404),
        200: {"content": {"image/jpeg": {}}, "description": "JPEG, longest side 160 pixels"},
        304: {"description": "Unchanged since the `ETag` in `If-None-Match`"},
    }
    picture = {"response_model": None, "response_class": Response, "responses": responses}

    @router.api_route(**by_contract("GetThumbnail", **picture))
    async def thumbnail(
        collection: Name,
        image_id: Annotated[ImageId, Query(alias="id", description="Id of the image.")],
        call: RequestCall,
        _version: Annotated[ImageId, Query(alias="v", description="Anything; another value passes caches by.")] = "",
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        made = await images.thumbnail(collection, image_id, call)
        headers = {"ETag": f'"{made.sha256}"', "Cache-Control": _CACHE}
        if if_none_match is not None and headers["ETag"] in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(made.jpeg, media_type="image/jpeg", headers=headers)
