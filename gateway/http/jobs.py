"""What is done with jobs over HTTP: look at, list, pause, resume, cancel, retry. They are started in `ingest`, and watched in
`job_streams`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import AwareDatetime, BaseModel, Field

from gateway.backends.large_answers import MANY
from gateway.http import models
from gateway.http.convert import RequestCall, errors, respond, respond_with, to_message
from gateway.http.reading import ReadingRoute
from gateway.http.search_bodies import Int32
from gateway.jobs.ingest import Ingest
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.images import undo_message
from lookalike.wire.jobs import failure_message, job_filter_from, job_message, report_message

PageSize = Annotated[Int32, Query(description="1 to 1,000; 0 means 50.")]
_TAGS: list[str | Enum] = ["ingest"]


class RetryBody(BaseModel, extra="forbid"):
    """May be left out."""

    request_id: models.RequestId = Field("", description="Makes the request idempotent: letters, digits or any of `. _ : -`.")


class JobsQuery(BaseModel):
    """Which jobs to list: those that fit all that is given."""

    collection: models.Name = Field("", description="Only jobs of this collection.")
    page_size: Int32 = Field(0, description="1 to 1,000; 0 means 50.")
    page_token: models.PageToken = Field(
        "", description="`next_page_token` of the page before; what else is asked for must stay the same."
    )
    states: list[models.JobState] = Field(
        [], max_length=16, description="Only jobs in one of these states; give it once for each."
    )
    created_after: AwareDatetime | None = Field(None, description="Only jobs created then or later, as `2026-11-23T12:00:00Z`.")
    created_before: AwareDatetime | None = Field(None, description="Only jobs created before then.")
    text: models.Uri = Field(
        "", description="Only jobs with this text, whatever its case, in id, request id or the source's URI."
    )


def jobs_router(ingest: Ingest) -> APIRouter:
    router = APIRouter(route_class=ReadingRoute)
    _add_steering(router, ingest)
    _add_looking(router, ingest)
    return router


def _add_steering(router: APIRouter, ingest: Ingest) -> None:
    @router.post(
        "/v1/ingest-jobs/{job_id}:cancel",
        summary="Stop a job; what is indexed stays",
        response_model=models.CancelIngestJobResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def cancel(job_id: models.JobId, call: RequestCall) -> Response:
        return respond(pb.CancelIngestJobResponse(job=job_message(await ingest.cancel(job_id, call))))

    @router.post(
        "/v1/ingest-jobs/{job_id}:pause",
        summary="Begin no further chunk of a job until it is resumed",
        response_model=models.PauseIngestJobResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def pause(job_id: models.JobId, call: RequestCall) -> Response:
        return respond(pb.PauseIngestJobResponse(job=job_message(await ingest.pause(job_id, call))))

    @router.post(
        "/v1/ingest-jobs/{job_id}:resume",
        summary="Let a paused job go on",
        response_model=models.ResumeIngestJobResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def resume(job_id: models.JobId, call: RequestCall) -> Response:
        return respond(pb.ResumeIngestJobResponse(job=job_message(await ingest.resume(job_id, call))))

    @router.post(
        "/v1/ingest-jobs/{job_id}:retry",
        summary="Start a new job over the items of an ended one that failed",
        status_code=201,
        response_model=models.RetryIngestFailuresResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def retry(job_id: models.JobId, call: RequestCall, body: RetryBody | None = None) -> Response:
        job = await ingest.retry(job_id, body.request_id if body else "", call)
        return respond(pb.RetryIngestFailuresResponse(job=job_message(job)), 201)

    @router.post(
        "/v1/ingest-jobs/{job_id}:undo",
        summary="Delete the images that an ended job wrote and nobody has written since",
        description="What the job replaced does not come back. May be called again where its time ends first.",
        response_model=models.UndoIngestJobResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def undo(job_id: models.JobId, call: RequestCall) -> Response:
        return respond(undo_message(await ingest.undo(job_id, call)))


def _add_looking(router: APIRouter, ingest: Ingest) -> None:
    @router.get(
        "/v1/ingest-jobs",
        summary="Jobs, newest first, a page at a time",
        description="Where few of very many fit, a page may be short, or empty, before the last one: go on while there is a "
        "`next_page_token`.",
        response_model=models.ListIngestJobsResponse,
        tags=_TAGS,
        responses=errors(400),
    )
    async def list_page(call: RequestCall, query: Annotated[JobsQuery, Query()]) -> Response:
        only = job_filter_from(to_message(query, pb.ListIngestJobsRequest()))
        jobs, token = await ingest.page(query.collection, query.page_size, query.page_token, call, only)
        return await respond_with(
            lambda: pb.ListIngestJobsResponse(jobs=map(job_message, jobs), next_page_token=token), large=len(jobs) > MANY
        )

    @router.get(
        "/v1/ingest-jobs/{job_id}/failures",
        summary="The items that failed, each with its reason, a page at a time",
        response_model=models.ListIngestFailuresResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def failures(
        job_id: models.JobId, call: RequestCall, page_size: PageSize = 0, page_token: models.PageToken = ""
    ) -> Response:
        found, token = await ingest.failures(job_id, page_size, page_token, call)
        return await respond_with(
            lambda: pb.ListIngestFailuresResponse(failures=map(failure_message, found), next_page_token=token),
            large=len(found) > MANY,
        )

    @router.get(
        "/v1/ingest-jobs/{job_id}/report",
        summary="Where the time of a job went, and how its rate changed",
        response_model=models.GetIngestReportResponse,
        tags=_TAGS,
        responses=errors(404),
    )
    async def report(job_id: models.JobId, call: RequestCall) -> Response:
        return respond(report_message(await ingest.report(job_id, call)))

    @router.get(
        "/v1/ingest-jobs/{job_id}",
        summary="One job",
        response_model=models.GetIngestJobResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def get(job_id: models.JobId, call: RequestCall) -> Response:
        return respond(pb.GetIngestJobResponse(job=job_message(await ingest.get(job_id, call))))
