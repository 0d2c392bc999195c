"""What can be done with a job, over gRPC and HTTP, on the whole system."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from lookalike.client import Client, Consistency, IngestOptions, JobState, UploadItem, UploadSource
from lookalike.runtime.channels import open_channel
from lookalike.spans import span_of
from lookalike.v1 import collection_service_pb2 as collection_pb
from lookalike.v1 import ingest_service_pb2 as pb
from tests.contract.gateway_collections import TIMEOUT_S, Stubs, picture, refused, stubs
from tests.servers.stack import Stack

COLLECTION = "job_operations"


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with open_channel(stack.target) as channel:
        request = collection_pb.CreateCollectionRequest(name=COLLECTION)
        stubs(channel).collections.CreateCollection(request, timeout=TIMEOUT_S)
        yield channel


@pytest.fixture(scope="module")
def services(channel: grpc.Channel) -> Stubs:
    return stubs(channel)


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.http_url, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="module")
def client(stack: Stack, channel: grpc.Channel) -> Iterator[Client]:
    with Client(stack.target) as client:
        yield client


@pytest.fixture(scope="module")
def failed(client: Client) -> str:
    """A job of three items, one of which failed."""
    items = [UploadItem("a", content=picture(0)), UploadItem("b", content=picture(1)[:90]), UploadItem("c", content=picture(2))]
    job = client.create_ingest_job(COLLECTION, UploadSource(client.upload(COLLECTION, items).id))
    *_, last = client.watch_job(job.id)
    assert (last.state, last.counts.failed) == (JobState.SUCCEEDED, 1)
    return str(last.id)


def test_a_paused_job_stands_still_until_it_is_resumed(client: Client, http: httpx.Client) -> None:
    upload = client.upload(COLLECTION, (UploadItem(f"paused/{n}", content=picture(n)) for n in range(300)))
    job = client.create_ingest_job(COLLECTION, UploadSource(upload.id))
    paused = http.post(f"/v1/ingest-jobs/{job.id}:pause").json()["job"]
    assert paused["paused"] is True
    assert client.get_job(job.id).standing.endswith(", paused")
    assert not http.post(f"/v1/ingest-jobs/{job.id}:resume").json()["job"]["paused"]
    *_, last = client.watch_job(job.id)
    assert (last.state, last.counts.indexed, last.paused) == (JobState.SUCCEEDED, 300, False)


def test_what_failed_is_tried_again_by_a_new_job(client: Client, http: httpx.Client, failed: str) -> None:
    made = http.post(f"/v1/ingest-jobs/{failed}:retry", json={"request_id": "job-operations-retry"})
    assert made.status_code == 201
    assert made.json()["job"]["source"] == {"failures": {"job_id": failed}}
    again = client.retry_failures(failed, request_id="job-operations-retry")
    assert again.id == made.json()["job"]["id"], "the same request"
    *_, last = client.watch_job(again.id)
    assert (last.counts.submitted, last.counts.failed) == (1, 1), "its bytes are broken still"
    assert [(one.id, one.reason, one.position) for one in client.list_failures(again.id)] == [("b", "IMAGE_UNREADABLE", 1)]
    assert http.post(f"/v1/ingest-jobs/{failed}:retry").status_code == 201, "a body is not needed"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("PauseIngestJob", pb.PauseIngestJobRequest),
        ("ResumeIngestJob", pb.ResumeIngestJobRequest),
        ("RetryIngestFailures", pb.RetryIngestFailuresRequest),
    ],
)
def test_a_job_that_does_not_exist_is_not_found(
    services: Stubs, http: httpx.Client, method: str, message: Callable[..., Message]
) -> None:
    call = getattr(services.ingest, method)
    assert refused(call, message(id="nope")) == ("NOT_FOUND", "id", "INGEST_JOB_NOT_FOUND")


@pytest.mark.parametrize("operation", ["pause", "resume"])
def test_an_ended_job_is_neither_paused_nor_resumed(services: Stubs, http: httpx.Client, failed: str, operation: str) -> None:
    answer = http.post(f"/v1/ingest-jobs/{failed}:{operation}")
    error = answer.json()["error"]
    assert (answer.status_code, error["status"], error["reason"]) == (409, "FAILED_PRECONDITION", "JOB_ENDED")


def test_a_job_without_failures_or_a_bad_request_id_is_refused(services: Stubs, client: Client, failed: str) -> None:
    job = client.create_ingest_job(
        COLLECTION, UploadSource(client.upload(COLLECTION, [UploadItem("z", content=picture(9))]).id)
    )
    list(client.watch_job(job.id))
    retry = services.ingest.RetryIngestFailures
    assert refused(retry, pb.RetryIngestFailuresRequest(id=job.id)) == ("FAILED_PRECONDITION", "id", "NOTHING_FAILED")
    bad = pb.RetryIngestFailuresRequest(id=failed, request_id="a b")
    assert refused(retry, bad) == ("INVALID_ARGUMENT", "request_id", "INVALID_ARGUMENT")


def test_a_report_says_where_the_time_went(client: Client, http: httpx.Client, failed: str) -> None:
    report = client.get_report(failed)
    assert sum(rate.items for rate in report.rates) == 3
    assert {"read", "embed", "write"} <= report.stage_durations.keys()
    assert timedelta() < report.planning < report.elapsed
    over_http = http.get(f"/v1/ingest-jobs/{failed}/report").json()
    assert {name: span_of(name, text) for name, text in over_http["stage_durations"].items()} == report.stage_durations
    assert over_http["job"]["listed"] == "3"
    assert http.get("/v1/ingest-jobs/nope/report").status_code == 404


def test_a_dry_run_and_a_mirror_reach_the_workers(client: Client, http: httpx.Client, stack: Stack) -> None:
    items = [UploadItem(f"mirrored/{n}", content=picture(n)) for n in range(6)]
    http.post("/v1/collections", json={"name": "mirrored"})
    source = {"upload": {"upload_id": client.upload("mirrored", items).id}}
    body = {"collection": "mirrored", "source": source, "dry_run": True}
    made = http.post("/v1/ingest-jobs", json=body).json()["job"]
    assert made["dry_run"] is True
    *_, tried = client.watch_job(made["id"])
    assert tried.forecast is not None
    assert (tried.counts.skipped, tried.forecast.sampled, tried.forecast.failed) == (6, 6, 0)
    assert tried.forecast.disk_bytes > tried.forecast.memory_bytes > 6 * 4 * 256
    *_, first = client.watch_job(client.create_ingest_job("mirrored", UploadSource(source["upload"]["upload_id"])).id)
    assert first.counts.indexed == 6
    fewer = UploadSource(client.upload("mirrored", items[:2]).id)
    *_, second = client.watch_job(client.create_ingest_job("mirrored", fewer, options=IngestOptions(mirror=True)).id)
    assert (second.state, second.counts.skipped, second.deleted) == (JobState.SUCCEEDED, 2, 4)
    assert {image.id for image in client.list_images("mirrored", consistency=Consistency.STRONG)} == {
        "mirrored/0",
        "mirrored/1",
    }


def test_failures_are_downloaded_as_csv_and_as_lines_of_json(http: httpx.Client, failed: str) -> None:
    path = f"/v1/ingest-jobs/{failed}/failures:download"
    as_csv = http.get(path)
    assert as_csv.headers["content-disposition"] == f'attachment; filename="{failed}-failures.csv"'
    (row,) = csv.DictReader(io.StringIO(as_csv.text, newline=""))
    assert (row["id"], row["reason"], row["position"]) == ("b", "IMAGE_UNREADABLE", "1")
    as_json = http.get(path, params={"format": "jsonl"})
    assert [json.loads(line) for line in as_json.text.splitlines()] == http.get(f"/v1/ingest-jobs/{failed}/failures").json()[
        "failures"
    ]


def test_an_old_job_is_found_by_what_is_known_of_it(client: Client, http: httpx.Client, failed: str) -> None:
    job = client.get_job(failed)
    others = client.create_ingest_job(
        COLLECTION,
        UploadSource(client.upload(COLLECTION, [UploadItem("y", content=picture(8))]).id),
        request_id="Job-Operations-Other",
    )
    list(client.watch_job(others.id))
    when: dict[str, Any] = {"created_after": job.create_time, "created_before": job.create_time + timedelta(milliseconds=1)}
    assert [one.id for one in client.list_jobs(COLLECTION, states=(JobState.SUCCEEDED,), **when)] == [failed]
    assert list(client.list_jobs(COLLECTION, states=(JobState.FAILED,), **when)) == []
    assert [one.id for one in client.list_jobs(text="operations-other")] == [others.id]
    params = {"text": failed.upper(), **{name: moment.isoformat() for name, moment in when.items()}}
    assert [one["id"] for one in http.get("/v1/ingest-jobs", params=params).json()["jobs"]] == [failed]
    again = client.retry_failures(failed)
    assert again.id in [one.id for one in client.list_jobs(text=failed)], "its source is that job"
