"""`/v1/collections`: make, show and remove collections."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from gateway.backends.large_answers import MANY
from gateway.collections.collections import MAX_DESCRIPTION, Collections, NewCollection
from gateway.http import models
from gateway.http.convert import RequestCall, errors, respond, respond_with
from gateway.http.reading import ReadingRoute
from lookalike.spaces import HistogramSettings
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.collections import collection_message


class CreateCollectionBody(BaseModel, extra="forbid"):
    """What to make."""

    name: models.Name = Field(description="Lower-case letters, digits and single underscores, at most 63.")
    description: str = Field("", max_length=MAX_DESCRIPTION, description="For people, at most 1,000 characters.")
    model: models.Name = Field(
        "", description="Name of the model, whose current version is taken for good. Empty means the embedder's default model."
    )
    histogram: models.HistogramSettings = models.HistogramSettings(bins=0, grid=0, color=False)


def collections_router(collections: Collections) -> APIRouter:
    router = APIRouter(prefix="/v1/collections", tags=["collections"], route_class=ReadingRoute)
    _add_changing(router, collections)
    _add_looking(router, collections)
    return router


def _add_changing(router: APIRouter, collections: Collections) -> None:
    @router.post(
        "",
        summary="Make an empty collection",
        status_code=201,
        response_model=models.CreateCollectionResponse,
        responses=errors(400, 404, 409),
    )
    async def create(body: CreateCollectionBody, call: RequestCall) -> Response:
        histogram = HistogramSettings(body.histogram.bins or 256, body.histogram.grid or 1, body.histogram.color)
        made = await collections.create(NewCollection(body.name, body.description, body.model, histogram), call)
        return respond(pb.CreateCollectionResponse(collection=collection_message(made)), 201)

    @router.delete(
        "/{collection}",
        summary="Remove a collection and all its images",
        response_model=models.DeleteCollectionResponse,
        responses=errors(400, 404),
    )
    async def delete(collection: models.Name, call: RequestCall) -> Response:
        await collections.delete(collection, call)
        return respond(pb.DeleteCollectionResponse())


def _add_looking(router: APIRouter, collections: Collections) -> None:
    @router.get("", summary="All collections", response_model=models.ListCollectionsResponse, responses=errors())
    async def list_all(call: RequestCall) -> Response:
        found = await collections.list_all(call)
        return await respond_with(
            lambda: pb.ListCollectionsResponse(collections=list(map(collection_message, found))),
            large=len(found) > MANY,
        )

    @router.get(
        "/{collection}",
        summary="One collection",
        response_model=models.GetCollectionResponse,
        responses=errors(400, 404),
    )
    async def get(collection: models.Name, call: RequestCall) -> Response:
        found = await collections.get(collection, call)
        return respond(pb.GetCollectionResponse(collection=collection_message(found)))
