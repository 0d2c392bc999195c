"""The client's methods for adding images: upload, jobs, failures."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from datetime import datetime

from lookalike.client import _arguments, _checked
from lookalike.client._arguments import members, moment, number, records, text, timeout, whole
from lookalike.client._channel import Calls
from lookalike.errors import DeadlineExceeded, Unavailable
from lookalike.records.job import CreateJob, Failure, IngestOptions, Job, JobFilter, Report, Undone
from lookalike.records.job_state import JobState
from lookalike.records.source import Source, Upload, UploadItem
from lookalike.v1 import ingest_service_pb2
from lookalike.wire.jobs import (
    create_job_message,
    failure_from,
    job_filter_message,
    job_from,
    report_from,
    undone_from,
    upload_from,
    upload_item_message,
)

_WATCH_S = 60.0
"""Bounds one watching stream; a longer watch opens the next. A stream without a deadline could hang for ever."""
_RECONNECT_S = 0.5
"""Pause before a broken watch is opened again."""

DEFAULT_OPTIONS = IngestOptions()


class IngestCalls(Calls):
    """`IngestService`, typed."""

    def upload(self, collection: str, items: Iterable[UploadItem] | UploadItem, *, timeout_s: float = 6 * 3600.0) -> Upload:
        """Send `items` in one stream. They are taken from the iterable as the server accepts them, so memory stays flat.

        `timeout_s` is for the whole upload. Nothing is kept of an upload that breaks off. Errors of the iterable are passed
        on. Raises `NotFound` (collection), `InvalidArgument`, `DeadlineExceeded`, `Unavailable`.
        """
        header = ingest_service_pb2.UploadHeader(collection=text("collection", collection))
        given, with_deadline_s = records("items", items, UploadItem), timeout(timeout_s)
        raised: list[BaseException] = []

        def requests() -> Iterator[ingest_service_pb2.UploadItemsRequest]:
            yield ingest_service_pb2.UploadItemsRequest(header=header)
            try:
                for item in given:
                    yield ingest_service_pb2.UploadItemsRequest(item=upload_item_message(_checked.upload_item(item)))
            except BaseException as error:
                # gRPC iterates in its own thread, and would turn the error into "Exception iterating requests!".
                raised.append(error)
                raise

        try:
            answer = self._translated(lambda: self._ingest.UploadItems(requests(), timeout=with_deadline_s))
        except Exception:
            if raised:
                raise raised[0] from None
            raise
        return upload_from(answer)

    def create_ingest_job(
        self,
        collection: str,
        source: Source | Upload,
        *,
        request_id: str = "",
        options: IngestOptions = DEFAULT_OPTIONS,
        timeout_s: float | None = None,
    ) -> Job:
        """Start a job; returns when the ledger has recorded it. A `request_id` seen before gives the earlier job.

        `source` is one of the sources, or the result of `upload`.

        Without a `request_id` the client makes one, so that a call that is repeated after a lost answer starts no second job.
        Raises `InvalidArgument`, `NotFound` (collection, upload), `FailedPrecondition`, `DeadlineExceeded`, `Unavailable`.
        """
        asked = CreateJob(
            text("collection", collection),
            _checked.source(source),
            text("request_id", request_id) or _made_id(),
            _checked.job_options(options),
        )
        request = create_job_message(asked)
        return job_from(self._call(self._ingest.CreateIngestJob, request, timeout_s).job)

    def get_job(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Return a job. Raises `NotFound`, `DeadlineExceeded`, `Unavailable`."""
        request = ingest_service_pb2.GetIngestJobRequest(id=text("job_id", job_id))
        return job_from(self._call(self._ingest.GetIngestJob, request, timeout_s).job)

    def list_jobs(
        self,
        collection: str = "",
        *,
        states: Iterable[JobState | str] | JobState | str = (),
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        text: str = "",
        page_size: int = 50,
        timeout_s: float | None = None,
    ) -> Iterator[Job]:
        """Return the jobs of one collection or of all, newest first, fetched `page_size` (1 to 1,000) at a time.

        Only jobs that meet all that is given: in one of `states` (members, their values, or a single one), created at
        `created_after` or later and before `created_before` (each with a time zone), and with `text` in their id, request id or
        the URI of their source, in upper or lower case. `timeout_s` is for each page. Raises `InvalidArgument`,
        `DeadlineExceeded`, `Unavailable`.
        """
        only = JobFilter(
            frozenset(members("states", states, JobState)),
            moment("created_after", created_after),
            moment("created_before", created_before),
            _arguments.text("text", text),
        )
        request = job_filter_message(only)
        request.collection = _arguments.text("collection", collection)
        request.page_size = whole("page_size", page_size, "1 to 1,000")
        pages = self._pages(self._ingest.ListIngestJobs, request, self._deadline(timeout_s))
        return (job_from(message) for page in pages for message in page.jobs)

    def watch_job(self, job_id: str, *, patience_s: float = 30.0) -> Iterator[Job]:
        """Yield the job now and after every change, until it has ended.

        The watch survives a gateway that goes away for up to `patience_s` seconds; then it raises `Unavailable`. Raises
        `NotFound`.
        """
        request = ingest_service_pb2.WatchIngestJobRequest(id=text("job_id", job_id))
        return self._watched(request, number("patience_s", patience_s, "0 or more"))

    def _watched(self, request: ingest_service_pb2.WatchIngestJobRequest, patience_s: float) -> Iterator[Job]:
        heard_s = time.monotonic()
        while True:
            try:
                for answer in self._stream(lambda: iter(self._ingest.WatchIngestJob(request, timeout=_WATCH_S))):
                    heard_s = time.monotonic()
                    job = job_from(answer.job)
                    yield job
                    if job.ended:
                        return
            except DeadlineExceeded:
                # The stream's own deadline is no error as long as the gateway still answers.
                self.get_job(request.id)
                heard_s = time.monotonic()
                continue
            except Unavailable:
                if time.monotonic() - heard_s > patience_s:
                    raise
            # A stream that ended early without an error comes here too: the server is stopping.
            time.sleep(_RECONNECT_S)

    def cancel_job(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Cancel a job: indexed items stay, the rest counts as skipped.

        Raises `NotFound`, `FailedPrecondition` (ended already), `DeadlineExceeded`, `Unavailable`.
        """
        request = ingest_service_pb2.CancelIngestJobRequest(id=text("job_id", job_id))
        return job_from(self._call(self._ingest.CancelIngestJob, request, timeout_s).job)

    def undo_job(self, job_id: str, *, timeout_s: float | None = None) -> Undone:
        """Delete the images that an ended job wrote, except those written again since. Replaced images do not come back. The
        answer says what earlier calls have deleted.

        An undo may run out of time: images that it deleted stay deleted, and the same call continues. Raises `NotFound`,
        `FailedPrecondition` (not ended), `DeadlineExceeded`, `Unavailable`.
        """
        answer = self._call(
            self._ingest.UndoIngestJob, ingest_service_pb2.UndoIngestJobRequest(id=text("job_id", job_id)), timeout_s
        )
        return undone_from(answer)

    def pause_job(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Pause a job: no further chunk begins until the job is resumed; chunks under way are finished.

        Raises `NotFound`, `FailedPrecondition` (ended, being cancelled), `DeadlineExceeded`, `Unavailable`.
        """
        request = ingest_service_pb2.PauseIngestJobRequest(id=text("job_id", job_id))
        return job_from(self._call(self._ingest.PauseIngestJob, request, timeout_s).job)

    def resume_job(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Resume a paused job. Raises `NotFound`, `FailedPrecondition` (ended), `DeadlineExceeded`, `Unavailable`."""
        request = ingest_service_pb2.ResumeIngestJobRequest(id=text("job_id", job_id))
        return job_from(self._call(self._ingest.ResumeIngestJob, request, timeout_s).job)

    def retry_failures(self, job_id: str, *, request_id: str = "", timeout_s: float | None = None) -> Job:
        """Start a new job over the failed items of an ended job. `request_id` as of `create_ingest_job`.

        Raises `NotFound`, `FailedPrecondition` (not ended, nothing failed, nothing to retry with), `DeadlineExceeded`,
        `Unavailable`.
        """
        request = ingest_service_pb2.RetryIngestFailuresRequest(
            id=text("job_id", job_id), request_id=text("request_id", request_id) or _made_id()
        )
        return job_from(self._call(self._ingest.RetryIngestFailures, request, timeout_s).job)

    def get_report(self, job_id: str, *, timeout_s: float | None = None) -> Report:
        """Return where the time of a job went, also while it runs. Raises `NotFound`, `DeadlineExceeded`, `Unavailable`."""
        request = ingest_service_pb2.GetIngestReportRequest(id=text("job_id", job_id))
        return report_from(self._call(self._ingest.GetIngestReport, request, timeout_s))

    def list_failures(self, job_id: str, *, page_size: int = 200, timeout_s: float | None = None) -> Iterator[Failure]:
        """Return the failed items of a job in order of position, fetched `page_size` (1 to 1,000) at a time.

        `timeout_s` is for each page. Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`.
        """
        request = ingest_service_pb2.ListIngestFailuresRequest(
            id=text("job_id", job_id), page_size=whole("page_size", page_size, "1 to 1,000")
        )
        pages = self._pages(self._ingest.ListIngestFailures, request, self._deadline(timeout_s))
        return (failure_from(message) for page in pages for message in page.failures)


def _made_id() -> str:
    """A new request id: with it a call that is tried again after a lost answer starts no second job."""
    return f"client-{secrets.token_hex(12)}"
