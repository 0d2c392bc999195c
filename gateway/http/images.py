"""Operations on images that the contract cannot say: one image by its path, all that a filter matches, thumbnails as files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from gateway.http.openapi import parameter
from gateway.http.operations import Asked, Operation, by_contract, respond, served
from gateway.images.images import Images
from gateway.message_json.reading import Part
from gateway.rpcs.search import SearchRpcs
from lookalike.errors import NotFound
from lookalike.v1 import search_service_pb2 as pb

_CACHE = "private, max-age=60"
"""An id may come to name another picture; for a minute a browser may show the old one."""
_IMAGES = "/v1/collections/{collection}/images"
_IMAGE = f"{_IMAGES}/{{id:path}}"
_COLLECTION = pb.UpdateImagesRequest.DESCRIPTOR.fields_by_name["collection"]
_UPDATE, _DELETE = pb.ImageUpdate.DESCRIPTOR, pb.DeleteImagesRequest.DESCRIPTOR
_ID = pb.GetThumbnailRequest.DESCRIPTOR.fields_by_name["id"]


def image_operations(images: Images, rpcs: SearchRpcs) -> Iterator[Operation]:
    yield _patching(rpcs)
    yield from _deleting(rpcs)

    async def thumbnail(asked: Asked) -> Response:
        made = await images.thumbnail(asked.message.collection, asked.message.id, asked.call())
        headers = {"ETag": f'"{made.sha256}"', "Cache-Control": _CACHE}
        if headers["ETag"] in asked.request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(made.jpeg, media_type="image/jpeg", headers=headers)

    yield by_contract(
        "GetThumbnail",
        thumbnail,
        parameters=(
            parameter(_ID, "query", name="v", required=False, description="Anything; another value passes caches by."),
            {"name": "if-none-match", "in": "header", "required": False, "schema": {"type": "string"}},
        ),
        responses={
            200: {"content": {"image/jpeg": {}}, "description": "JPEG, longest side 160 pixels"},
            304: {"description": "Unchanged since the `ETag` in `If-None-Match`"},
        },
    )


def _patching(rpcs: SearchRpcs) -> Operation:
    async def patch(asked: Asked) -> Response:
        collection, update = asked.request.path_params["collection"], asked.message
        update.merge = True
        done = await rpcs.UpdateImages(pb.UpdateImagesRequest(collection=collection, updates=[update]), asked.call())
        if done.missing_ids:
            raise NotFound("image", update.id, hint=f"collection {collection!r} does not hold it", field="id")
        return await respond(done)

    return Operation(
        name="PatchImage",
        verb="PATCH",
        path=_IMAGE,
        serve=patch,
        summary="Change the metadata of one image",
        description="Keys that are not named are kept, those named with null are removed.",
        tag="images",
        message=_UPDATE,
        in_path={"id": "id"},
        query=Part(_UPDATE, frozenset(_UPDATE.fields_by_name)),
        body=Part(_UPDATE, frozenset({"id", "merge"})),
        answer=pb.UpdateImagesResponse.DESCRIPTOR,
        parameters=(parameter(_COLLECTION, "path"),),
        errors=(400, 404, 409),
        example='{"metadata": {"label": "Coat", "year": 2019}}',
    )


def _deleting(rpcs: SearchRpcs) -> Iterator[Operation]:
    common: dict[str, Any] = {
        "verb": "DELETE",
        "tag": "images",
        "message": _DELETE,
        "answer": pb.DeleteImagesResponse.DESCRIPTOR,
        "errors": (400, 404, 409),
    }
    yield Operation(
        name="DeleteMatchingImages",
        path=_IMAGES,
        serve=served(rpcs.DeleteImages),
        required=frozenset({"filter"}),
        summary="Delete every image for which a filter holds",
        description="May be called again where very many match and its time ends first: what was deleted stays deleted.",
        in_path={"collection": "collection"},
        query=Part(_DELETE, frozenset({"collection", "ids", "expected_revision"})),
        **common,
    )
    yield Operation(
        name="DeleteImage",
        path=_IMAGE,
        serve=served(rpcs.DeleteImages),
        summary="Delete one image; deleting what is not there is no error",
        description="With `expected_revision`, only where that is its revision.",
        in_path={"collection": "collection", "id": "ids"},
        query=Part(_DELETE, frozenset({"collection", "ids", "filter", "validate_only"})),
        **common,
    )
