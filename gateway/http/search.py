"""`POST /v1/collections/{collection}/search`: a picture as a form, or vectors, a stored image or base64 as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from gateway.http import models
from gateway.http.convert import RequestDeadline, errors, respond
from gateway.http.errors import as_invalid
from gateway.messages import query_from, search_response
from gateway.search import Search
from lookalike.errors import InvalidArgument
from lookalike.v1 import image_pb2
from lookalike.v1 import search_service_pb2 as pb

Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
ConsistencyName = Literal["CONSISTENCY_UNSPECIFIED", "CONSISTENCY_BOUNDED", "CONSISTENCY_STRONG"]

_LISTS = ("spaces",)
_FORM_TYPE, _JSON_TYPE = "multipart/form-data", "application/json"


class Vector(BaseModel):
    """A vector made earlier."""

    model_config = ConfigDict(extra="forbid")

    space: str
    values: list[float]
    fingerprint: str = Field("", description="Checked where given.")


class Options(BaseModel):
    """How to search; every field may be left out."""

    model_config = ConfigDict(extra="forbid")

    spaces: list[str] = Field([], description="`histogram`, `siamese` or both (fused). Empty means `siamese`.")
    top_k: Int32 | None = Field(None, description="How many neighbours, 1 to 1,000. Absent means 5.")
    filter: str = Field("", description='Such as `label = "Coat" AND year >= 2019`.')
    include_vectors: bool = False
    include_query_vectors: bool = False
    consistency: ConsistencyName = "CONSISTENCY_UNSPECIFIED"
    weights: dict[str, float] = Field({}, description="Weight of each space when two are fused, above 0; 1 if absent.")
    ef: Int32 = Field(0, description="Breadth of the HNSW search, `top_k` to 32,768; 0 chooses.")


class SearchBody(Options):
    """Exactly one of `image`, `vectors` and `image_id`."""

    image: str | None = Field(None, description="An encoded picture, in base64.")
    vectors: list[Vector] | None = Field(None, description="One per space to search in.")
    image_id: str | None = Field(None, description="An image of the collection. It is left out of the answer.")


def search_router(search: Search) -> APIRouter:
    router = APIRouter(tags=["search"])

    @router.post(
        "/v1/collections/{collection}/search",
        summary="The images that look most like the query",
        response_model=models.SearchResponse,
        responses=errors(400, 404, 413),
        openapi_extra={"requestBody": _request_body()},
    )
    async def post_search(collection: str, request: Request, deadline: RequestDeadline) -> JSONResponse:
        message = await _read(request)
        message.collection = collection
        answer = await search.answer(query_from(message), deadline)
        return respond(search_response(answer, include_vectors=message.include_vectors))

    return router


async def _read(request: Request) -> pb.SearchRequest:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == _FORM_TYPE:
        return await _read_form(request)
    if kind == _JSON_TYPE:
        try:
            return _message(SearchBody.model_validate_json(await request.body()))
        except ValidationError as error:
            raise as_invalid(error.errors()) from error
    raise InvalidArgument("body", f"has content type {kind or 'none'!r}; send {_FORM_TYPE} or {_JSON_TYPE}")


async def _read_form(request: Request) -> pb.SearchRequest:
    """`image` is a file; every other field is text: lists repeat, or are separated by commas; `weights` is a JSON object."""
    async with request.form(max_files=1, max_fields=64) as form:
        image = form.get("image")
        if image is not None and not isinstance(image, UploadFile):
            raise InvalidArgument("image", "must be a file in the form, not text")
        content = await image.read() if image is not None else None
        texts = {name: form.getlist(name) for name in form if name != "image"}
        if files := [name for name, values in texts.items() if not all(isinstance(value, str) for value in values)]:
            raise InvalidArgument(files[0], "must be text in the form; the one file is called 'image'")
    try:
        options = Options.model_validate({name: _form_value(name, values) for name, values in texts.items()})
    except ValidationError as error:
        raise as_invalid(error.errors()) from error
    message = _options_message(options)
    if content is not None:
        message.image = content
    return message


def _form_value(name: str, values: list[Any]) -> object:
    if name in _LISTS:
        return [part.strip() for value in values for part in value.split(",") if part.strip()]
    if len(values) > 1:
        raise InvalidArgument(name, "is given more than once")
    if name == "weights":
        try:
            return json.loads(values[0])
        except ValueError as error:
            raise InvalidArgument("weights", 'is not a JSON object such as {"siamese": 2}') from error
    return values[0]


def _message(body: SearchBody) -> pb.SearchRequest:
    given = [name for name in ("image", "vectors", "image_id") if getattr(body, name) is not None]
    if len(given) > 1:
        raise InvalidArgument("query", f"{' and '.join(given)} are given; give one of them")
    message = _options_message(body)
    if body.image is not None:
        message.image = _decoded(body.image)
    if body.vectors is not None:
        vectors = [image_pb2.SpaceVector(**vector.model_dump()) for vector in body.vectors]
        message.vectors.CopyFrom(pb.QueryVectors(vectors=vectors))
    if body.image_id is not None:
        message.image_id = body.image_id
    return message


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidArgument("image", "is not base64") from error


def _options_message(options: Options) -> pb.SearchRequest:
    return pb.SearchRequest(
        spaces=options.spaces,
        top_k=options.top_k,
        filter=options.filter,
        include_vectors=options.include_vectors,
        include_query_vectors=options.include_query_vectors,
        consistency=pb.Consistency.Value(options.consistency),
        weights=options.weights,
        ef=options.ef,
    )


def _request_body() -> Mapping[str, Any]:
    """OpenAPI of the two kinds of body; FastAPI cannot say that there is a choice."""
    form = Options.model_json_schema(ref_template="#/components/schemas/{model}")
    form["properties"] = {
        "image": {"type": "string", "format": "binary", "description": "An encoded picture, at most 20 MB."},
        **form["properties"],
        "weights": {"type": "string", "description": "A JSON object."},
    }
    body = SearchBody.model_json_schema(ref_template="#/components/schemas/{model}")
    vector = body.pop("$defs")["Vector"]
    body["properties"]["vectors"]["anyOf"][0]["items"] = vector
    return {"required": True, "content": {_FORM_TYPE: {"schema": form}, _JSON_TYPE: {"schema": body}}}
