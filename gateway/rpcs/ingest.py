"""The unary RPCs of IngestService over the core."""

from __future__ import annotations

from gateway.backends.large_answers import MANY, Answer
from gateway.jobs.ingest import Ingest
from lookalike.runtime.call import Call
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import create_job_from, failure_message, job_filter_from, job_message, report_message, undone_message
from lookalike.wire.paging import page_size_of, place_of, token_after


class IngestRpcs:
    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    async def CreateIngestJob(self, request: pb.CreateIngestJobRequest, call: Call) -> pb.CreateIngestJobResponse:
        job = await self._ingest.create(create_job_from(request), call)
        return pb.CreateIngestJobResponse(job=job_message(job))

    async def GetIngestJob(self, request: pb.GetIngestJobRequest, call: Call) -> pb.GetIngestJobResponse:
        return pb.GetIngestJobResponse(job=job_message(await self._ingest.get(request.id, call)))

    async def ListIngestJobs(self, request: pb.ListIngestJobsRequest, call: Call) -> Answer:
        only = job_filter_from(request)
        jobs, last = await self._ingest.page(request.collection, page_size_of(request), place_of(request), call, only)
        token = token_after(last, request)
        return Answer.whole(
            lambda: pb.ListIngestJobsResponse(jobs=map(job_message, jobs), next_page_token=token), large=len(jobs) > MANY
        )

    async def CancelIngestJob(self, request: pb.CancelIngestJobRequest, call: Call) -> pb.CancelIngestJobResponse:
        return pb.CancelIngestJobResponse(job=job_message(await self._ingest.cancel(request.id, call)))

    async def PauseIngestJob(self, request: pb.PauseIngestJobRequest, call: Call) -> pb.PauseIngestJobResponse:
        return pb.PauseIngestJobResponse(job=job_message(await self._ingest.pause(request.id, call)))

    async def ResumeIngestJob(self, request: pb.ResumeIngestJobRequest, call: Call) -> pb.ResumeIngestJobResponse:
        return pb.ResumeIngestJobResponse(job=job_message(await self._ingest.resume(request.id, call)))

    async def RetryIngestFailures(self, request: pb.RetryIngestFailuresRequest, call: Call) -> pb.RetryIngestFailuresResponse:
        job = await self._ingest.retry(request.id, request.request_id, call)
        return pb.RetryIngestFailuresResponse(job=job_message(job))

    async def GetIngestReport(self, request: pb.GetIngestReportRequest, call: Call) -> pb.GetIngestReportResponse:
        return report_message(await self._ingest.report(request.id, call))

    async def ListIngestFailures(self, request: pb.ListIngestFailuresRequest, call: Call) -> Answer:
        failures, last = await self._ingest.failures(request.id, page_size_of(request), place_of(request), call)
        token = token_after(last, request)
        return Answer.whole(
            lambda: pb.ListIngestFailuresResponse(failures=map(failure_message, failures), next_page_token=token),
            large=len(failures) > MANY,
        )

    async def UndoIngestJob(self, request: pb.UndoIngestJobRequest, call: Call) -> pb.UndoIngestJobResponse:
        return undone_message(await self._ingest.undo(request.id, call))
