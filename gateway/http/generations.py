"""`/v1/collections/{collection}:reembed`, `:rollback` and `:drop-previous`: the generations of a collection."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from gateway.collections.generations import Generations, Reembed
from gateway.http import models
from gateway.http.convert import RequestCall, errors, respond
from gateway.http.reading import ReadingRoute
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.collections import collection_message


class ReembedCollectionBody(BaseModel, extra="forbid"):
    """What to re-embed with, and how."""

    model: models.Name = Field(
        "", description="Name of the model, whose current version is taken. Empty means the collection's model."
    )
    request_id: models.RequestId = Field("", description="Makes the request idempotent. Empty: made by the server.")
    allow_missing: bool = Field(
        False, description="Switch although some images could not be embedded again; they are no longer in the collection then."
    )
    force: bool = Field(False, description="Switch although the comparison is worse; else such a job is held (`job.held`).")
    grace_s: float = Field(
        0.0,
        allow_inf_nan=False,
        description="Seconds for which the generation before is kept after the switch, 30 to 2,592,000. 0 means a day.",
    )


def generations_router(generations: Generations) -> APIRouter:
    router = APIRouter(prefix="/v1/collections", tags=["collections"], route_class=ReadingRoute)

    @router.post(
        "/{collection}:reembed",
        summary="Fill a collection anew with another model while it is searched, then switch to it",
        status_code=202,
        response_model=models.ReembedCollectionResponse,
        responses=errors(400, 404),
    )
    async def reembed(collection: models.Name, body: ReembedCollectionBody, call: RequestCall) -> Response:
        wanted = Reembed(collection, body.model, body.request_id, body.allow_missing, body.grace_s, body.force)
        job = await generations.reembed(wanted, call)
        return respond(pb.ReembedCollectionResponse(job_id=job.id), 202)

    @router.post(
        "/{collection}:rollback",
        summary="Go back to the generation before the last re-embedding",
        response_model=models.RollbackCollectionResponse,
        responses=errors(400, 404),
    )
    async def roll_back(collection: models.Name, call: RequestCall) -> Response:
        found = await generations.roll_back(collection, call)
        return respond(pb.RollbackCollectionResponse(collection=collection_message(found)))

    @router.post(
        "/{collection}:drop-previous",
        summary="Drop the generation before now instead of at the end of its grace",
        response_model=models.DropPreviousGenerationResponse,
        responses=errors(400, 404),
    )
    async def drop_previous(collection: models.Name, call: RequestCall) -> Response:
        found = await generations.drop_previous(collection, call)
        return respond(pb.DropPreviousGenerationResponse(collection=collection_message(found)))

    return router
