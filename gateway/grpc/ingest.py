"""gRPC's IngestService over the core."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from gateway.backends.large_answers import MANY
from gateway.backends.threads import off_loop
from gateway.grpc.search import Context, call_of
from gateway.jobs.ingest import IDLE_S, Ingest, unless_idle
from lookalike.errors import InvalidArgument
from lookalike.records.source import UploadItem
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.v1.ingest_service_pb2_grpc import IngestServiceServicer
from lookalike.wire.images import undo_message
from lookalike.wire.jobs import (
    create_job_from,
    failure_message,
    job_filter_from,
    job_message,
    report_message,
    upload_item_from,
    upload_message,
)

_METADATA_AT_ONCE_BYTES = 8 * 1024
"""The size of the metadata that is read on the loop, of one item: it takes a millisecond."""


class IngestServicer(IngestServiceServicer):
    """An upload without a message for `idle_s` seconds is given up."""

    def __init__(self, ingest: Ingest, *, idle_s: float = IDLE_S) -> None:
        self._ingest, self._idle_s = ingest, idle_s

    async def UploadItems(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.UploadItemsRequest], _context: Context
    ) -> pb.UploadItemsResponse:
        requests = unless_idle(request_iterator, self._idle_s)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgument("header", "is missing; the first message of an upload is its header")
        return upload_message(await self._ingest.upload(first.header.collection, _items(requests)))

    async def CreateIngestJob(  # noqa: N802
        self, request: pb.CreateIngestJobRequest, context: Context
    ) -> pb.CreateIngestJobResponse:
        job = await self._ingest.create(create_job_from(request), call_of(context))
        return pb.CreateIngestJobResponse(job=job_message(job))

    async def GetIngestJob(self, request: pb.GetIngestJobRequest, context: Context) -> pb.GetIngestJobResponse:  # noqa: N802
        return pb.GetIngestJobResponse(job=job_message(await self._ingest.get(request.id, call_of(context))))

    async def ListIngestJobs(  # noqa: N802
        self, request: pb.ListIngestJobsRequest, context: Context
    ) -> pb.ListIngestJobsResponse:
        only = job_filter_from(request)
        jobs, token = await self._ingest.page(request.collection, request.page_size, request.page_token, call_of(context), only)
        return await off_loop(
            lambda: pb.ListIngestJobsResponse(jobs=map(job_message, jobs), next_page_token=token), large=len(jobs) > MANY
        )

    async def WatchIngestJob(  # noqa: N802
        self, request: pb.WatchIngestJobRequest, _context: Context
    ) -> AsyncIterator[pb.WatchIngestJobResponse]:
        async for job in self._ingest.watch(request.id):
            yield pb.WatchIngestJobResponse(job=job_message(job))

    async def CancelIngestJob(  # noqa: N802
        self, request: pb.CancelIngestJobRequest, context: Context
    ) -> pb.CancelIngestJobResponse:
        return pb.CancelIngestJobResponse(job=job_message(await self._ingest.cancel(request.id, call_of(context))))

    async def PauseIngestJob(  # noqa: N802
        self, request: pb.PauseIngestJobRequest, context: Context
    ) -> pb.PauseIngestJobResponse:
        return pb.PauseIngestJobResponse(job=job_message(await self._ingest.pause(request.id, call_of(context))))

    async def ResumeIngestJob(  # noqa: N802
        self, request: pb.ResumeIngestJobRequest, context: Context
    ) -> pb.ResumeIngestJobResponse:
        return pb.ResumeIngestJobResponse(job=job_message(await self._ingest.resume(request.id, call_of(context))))

    async def RetryIngestFailures(  # noqa: N802
        self, request: pb.RetryIngestFailuresRequest, context: Context
    ) -> pb.RetryIngestFailuresResponse:
        job = await self._ingest.retry(request.id, request.request_id, call_of(context))
        return pb.RetryIngestFailuresResponse(job=job_message(job))

    async def GetIngestReport(  # noqa: N802
        self, request: pb.GetIngestReportRequest, context: Context
    ) -> pb.GetIngestReportResponse:
        return report_message(await self._ingest.report(request.id, call_of(context)))

    async def ListIngestFailures(  # noqa: N802
        self, request: pb.ListIngestFailuresRequest, context: Context
    ) -> pb.ListIngestFailuresResponse:
        failures, token = await self._ingest.failures(request.id, request.page_size, request.page_token, call_of(context))
        return await off_loop(
            lambda: pb.ListIngestFailuresResponse(failures=map(failure_message, failures), next_page_token=token),
            large=len(failures) > MANY,
        )

    async def UndoIngestJob(self, request: pb.UndoIngestJobRequest, context: Context) -> pb.UndoIngestJobResponse:  # noqa: N802
        return undo_message(await self._ingest.undo(request.id, call_of(context)))


async def _items(requests: AsyncIterator[pb.UploadItemsRequest]) -> AsyncIterator[UploadItem]:
    async for request in requests:
        if request.WhichOneof("part") != "item":
            raise InvalidArgument("item", "is missing; every message after the header is an item")
        item = request.item
        yield await off_loop(partial(upload_item_from, item), large=item.metadata.ByteSize() > _METADATA_AT_ONCE_BYTES)
