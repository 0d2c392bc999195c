"""Jobs over HTTP: server-sent events, failures as a file, and what a list can be asked."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from gateway.http.app import Core, build_app
from gateway.jobs.ingest import Ingest
from gateway.listeners import HttpServer
from gateway.readiness import Readiness
from lookalike.errors import NotFound, Unavailable
from lookalike.jobs.outcomes import Outcomes
from lookalike.records.job import ANY_JOB, Failure, Job, JobFilter
from lookalike.records.job_state import JobState
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.paging import token_after
from tests.messages import made
from tests.unit.gateway.events import Event, events
from tests.unit.gateway.fakes import MOMENT, NOTHING, FakeLedger, MemoryBackends, few_threads, job
from tests.unit.gateway.http_app import LIMIT, ask

JOB = "0123456789abcdef"
WATCH = f"/v1/ingest-jobs/{JOB}:watch"
DOWNLOAD = f"/v1/ingest-jobs/{JOB}/failures:download"
AWKWARD = 'says "no", then\nnothing; größe'
FAILURES = [Failure(f"id,{n}", f"file:///{n}.png", "IMAGE_UNREADABLE", AWKWARD, n) for n in range(5)]


class FakeOutcomes(Outcomes):
    """Pages of two failures, whatever is asked for; None breaks."""

    def __init__(self, failures: Sequence[Failure | None]) -> None:
        self.failures = failures

    def page_failures(self, job_id: str, page_size: int, page_token: str) -> tuple[list[Failure], str]:
        if job_id != JOB:
            raise NotFound("ingest job", job_id, field="id")
        start = int(page_token or 0)
        page = self.failures[start : start + 2]
        if None in page:
            raise Unavailable("redis", "restarting")
        return [one for one in page if one], str(start + 2) if start + 2 < len(self.failures) else ""


class ListingLedger(FakeLedger):
    """Notes what its list was asked for."""

    asked: tuple[str | None, int, str, JobFilter] = (None, 0, "", ANY_JOB)

    def list(self, *asked: Any) -> tuple[list[Job], str]:
        self.asked = asked
        return [job(JobState.FAILED)], "17"


def app_of(ledger: FakeLedger, failures: Sequence[Failure | None] = ()) -> tuple[Any, Ingest]:
    ingest = Ingest(
        MemoryBackends(), ledger, NOTHING, NOTHING, FakeOutcomes(failures), NOTHING, few_threads(), watch_interval_s=0.001
    )
    core = Core(NOTHING, NOTHING, NOTHING, ingest, NOTHING)
    return build_app(core, Readiness({}), upload_limit_bytes=LIMIT), ingest


def watched(*moments: Job) -> list[Event]:
    response = ask("GET", WATCH, app_of(FakeLedger(*moments))[0])
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.text.endswith("\n\n")
    return list(events(response.text.split("\n")))


# --- watching ---


def test_every_moment_of_a_job_is_an_event_and_the_last_one_says_that_it_is_the_last() -> None:
    seen = watched(*[job(JobState.RUNNING)] * 2, job(JobState.RUNNING, 4), job(JobState.SUCCEEDED, 10))
    assert [(event.name, event.id) for event in seen] == [("job", ""), ("job", ""), ("job", ""), ("end", "ended")]
    assert [event.data["job"]["counts"]["indexed"] for event in seen[:-1]] == ["0", "4", "10"]
    assert seen[2].data["job"]["state"] == "INGEST_JOB_STATE_SUCCEEDED"
    assert seen[-1].data == {}


def test_a_watcher_that_comes_back_after_the_end_is_asked_to_stay_away() -> None:
    app, _ = app_of(FakeLedger(job(JobState.SUCCEEDED, 10)))
    again = ask("GET", WATCH, app, headers={"Last-Event-ID": "ended"})
    assert (again.status_code, again.content) == (204, b"")
    running, _ = app_of(FakeLedger(job(JobState.RUNNING), job(JobState.SUCCEEDED, 10)))
    assert ask("GET", WATCH, running, headers={"Last-Event-ID": "ended"}).status_code == 200


def test_what_breaks_a_stream_is_its_last_event() -> None:
    class Breaking(FakeLedger):
        def get(self, job_id: str) -> Job:
            if len(self.moments) == 1:
                raise Unavailable("redis", "restarting")
            return super().get(job_id)

    response = ask("GET", WATCH, app_of(Breaking(*[job(JobState.RUNNING)] * 3))[0])
    *_, before, last = events(response.text.split("\n"))
    assert (before.name, last.name, last.id) == ("job", "problem", "")
    assert (last.data["error"]["status"], last.data["error"]["code"]) == ("UNAVAILABLE", 503)
    assert "redis" in last.data["error"]["message"]


# --- failures as a file ---


def test_all_failures_come_as_csv_whatever_is_in_them() -> None:
    response = ask("GET", DOWNLOAD, app_of(FakeLedger(), FAILURES)[0])
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="{JOB}-failures.csv"'
    header, *rows = csv.reader(io.StringIO(response.text, newline=""))
    assert header == ["id", "uri", "reason", "message", "position"]
    assert rows == [[f"id,{n}", f"file:///{n}.png", "IMAGE_UNREADABLE", AWKWARD, str(n)] for n in range(5)]


def test_no_failure_is_a_formula_for_a_spreadsheet() -> None:
    failures = [Failure("=cmd|' /C calc'!A0", "@SUM(1)", "IMAGE_EMPTY", "\t-1+1", -5)]
    _, row = csv.reader(io.StringIO(ask("GET", DOWNLOAD, app_of(FakeLedger(), failures)[0]).text, newline=""))
    assert row == ["'=cmd|' /C calc'!A0", "'@SUM(1)", "IMAGE_EMPTY", "'\t-1+1", "-5"]


def test_all_failures_come_as_lines_of_json() -> None:
    response = ask("GET", f"{DOWNLOAD}?format=jsonl", app_of(FakeLedger(), FAILURES)[0])
    assert response.headers["content-type"].startswith("application/x-ndjson")
    assert response.headers["content-disposition"] == f'attachment; filename="{JOB}-failures.jsonl"'
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [(line["id"], line["message"], line["position"]) for line in lines] == [
        (f"id,{n}", AWKWARD, str(n)) for n in range(5)
    ]


def test_a_job_without_failures_gives_a_header_or_nothing() -> None:
    app, _ = app_of(FakeLedger(), [])
    assert ask("GET", DOWNLOAD, app).text == "id,uri,reason,message,position\r\n"
    assert ask("GET", f"{DOWNLOAD}?format=jsonl", app).text == ""


@pytest.mark.parametrize(
    ("path", "code", "field"),
    [(f"{DOWNLOAD}?format=xlsx", 400, "format"), ("/v1/ingest-jobs/nobody/failures:download", 404, "id")],
)
def test_a_download_that_cannot_be_is_refused_before_it_begins(path: str, code: int, field: str) -> None:
    response = ask("GET", path, app_of(FakeLedger(), FAILURES)[0])
    assert (response.status_code, response.json()["error"]["field"]) == (code, field)
    assert "content-disposition" not in response.headers


def test_a_download_that_breaks_off_is_not_taken_for_a_whole_file() -> None:
    received = bytearray()

    async def download() -> None:
        nonlocal received
        server = HttpServer(app_of(FakeLedger(), [*FAILURES[:2], None])[0], "127.0.0.1:0")
        await server.start()
        try:
            async with httpx.AsyncClient() as client, client.stream("GET", f"http://127.0.0.1:{server.port}{DOWNLOAD}") as got:
                async for part in got.aiter_bytes():
                    received += part
        finally:
            await server.stop(1.0)

    with pytest.raises(httpx.RemoteProtocolError):
        asyncio.run(download())
    assert received.count(b"IMAGE_UNREADABLE") == 2


# --- lists ---


def test_what_a_list_is_asked_for_reaches_the_ledger() -> None:
    ledger = ListingLedger()
    request = made(
        pb.ListIngestJobsRequest, collection="things", states=[7, 3], created_after=MOMENT, text="S3://Photos", page_size=7
    )
    params = [
        ("collection", "things"),
        ("page_size", "7"),
        ("page_token", token_after("123", request)),
        ("states", "INGEST_JOB_STATE_FAILED"),
        ("states", "INGEST_JOB_STATE_RUNNING"),
        ("created_after", "2026-11-23T13:00:00+01:00"),
        ("text", "S3://Photos"),
    ]
    app, _ = app_of(ledger)
    response = ask("GET", "/v1/ingest-jobs", app, params=params)
    assert response.status_code == 200, response.text
    assert (response.json()["jobs"][0]["id"], response.json()["next_page_token"]) == (JOB, token_after("17", request))
    only = JobFilter(frozenset({JobState.FAILED, JobState.RUNNING}), created_after=MOMENT, text="S3://Photos")
    assert ledger.asked == ("things", 7, "123", only)
    assert ask("GET", "/v1/ingest-jobs", app).status_code == 200
    assert ledger.asked == (None, 50, "", ANY_JOB)  # type: ignore[comparison-overlap]


@pytest.fixture(scope="module")
def lists() -> Any:
    return app_of(ListingLedger())[0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("states=RUNNING", "states[0]"),
        ("states=INGEST_JOB_STATE_FAILED&states=INGEST_JOB_STATE_UNSPECIFIED", "states[1]"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2026-11-23T12:00:00", "created_before"),
        ("text=" + "x" * 2049, "text"),
        ("collection=No", "collection"),
        ("page_size=-1", "page_size"),
    ],
)
def test_what_a_list_cannot_be_asked_for_is_said_by_its_field(lists: Any, query: str, field: str) -> None:
    response = ask("GET", f"/v1/ingest-jobs?{query}", lists)
    assert (response.status_code, response.json()["error"]["field"]) == (400, field)
