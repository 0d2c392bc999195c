"""`lookalike jobs` against a gateway that answers from memory."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from lookalike.cli import exits
from lookalike.v1 import ingest_service_pb2
from tests.unit.lookalike.cli.command import Lookalike, lookalike
from tests.unit.lookalike.fake_gateway import FakeGateway, a_job, gateway

__all__ = ["gateway", "lookalike"]


def test_jobs_are_listed_shown_and_watched(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=1200, indexed=1200)]
    assert "1,200" in lookalike("jobs", "list").out
    assert json.loads(lookalike("jobs", "show", "job-1", "--json").out)["state"] == "succeeded"
    assert lookalike("jobs", "watch", "job-1").code == exits.OK
    assert lookalike("jobs", "show", "job-2").code == exits.NOT_FOUND
    assert lookalike("jobs", "cancel", "job-1").code == exits.WRONG_STATE
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_FAILED)]
    assert lookalike("jobs", "watch", "job-1").code == exits.ITEMS_FAILED


def test_a_job_is_paused_and_resumed_and_shown_as_such(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_RUNNING, submitted=9, indexed=1)]
    assert lookalike("jobs", "pause", "job-1").err == "job job-1 is running, paused\n"
    assert "running, paused" in lookalike("jobs", "list").out
    assert json.loads(lookalike("jobs", "show", "job-1", "--json").out)["paused"] is True
    assert lookalike("jobs", "resume", "job-1").err == "job job-1 is running\n"
    assert lookalike("jobs", "pause", "job-9").code == exits.NOT_FOUND


def test_failures_are_retried_as_a_new_job_which_can_be_followed(gateway: FakeGateway, lookalike: Lookalike) -> None:
    said = lookalike("jobs", "retry", "job-1", "--request-id", "mine")
    assert (said.code, said.out) == (exits.OK, "job-2\n")
    assert (gateway.seen[-1].id, gateway.seen[-1].request_id) == ("job-1", "mine")
    gateway.jobs["job-2"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_SUCCEEDED, submitted=2, indexed=1, failed=1)]
    assert lookalike("jobs", "retry", "job-1", "--watch").code == exits.ITEMS_FAILED
    retried = [request for request in gateway.seen if isinstance(request, ingest_service_pb2.RetryIngestFailuresRequest)]
    assert retried[-1].request_id, "so that a repeated call makes no second job"
    shown = json.loads(lookalike("jobs", "retry", "job-1", "--json").out)
    assert shown["source"] == {"job_id": "job-1"}


def test_a_report_shows_totals_shares_and_the_rate_over_time(gateway: FakeGateway, lookalike: Lookalike) -> None:
    job = a_job(ingest_service_pb2.INGEST_JOB_STATE_RUNNING, submitted=200_000, indexed=177_000)
    job.stalled = True
    gateway.jobs["job-1"] = [job]
    said = lookalike("jobs", "report", "job-1").out
    assert "job job-1, collection shoes: running, stalled" in said
    assert "60.5 s, of which 0.5 s until the source was planned; 2,950.0 items/s after that" in said
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert "80%" in lines["embed"]
    charted = [line for line in said.splitlines() if " s " in line and ("█" in line or line.split()[0] == "0")]
    assert len(charted) == 20, "sixty stretches in bars of three"
    lengths = [line.count("█") for line in charted]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (0, 40)
    assert json.loads(lookalike("jobs", "report", "job-1", "--json").out)["rates"][59]["items"] == 5900


def test_old_jobs_are_found_by_state_time_and_text(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.jobs["job-1"] = [a_job(ingest_service_pb2.INGEST_JOB_STATE_FAILED)]
    times = ("--since", "2026-11-01", "--until", "2026-11-23T12:00Z")
    said = lookalike("jobs", "list", "--state", "failed", "--state", "RUNNING", *times, "--search", "nightly")
    assert (said.code, "job-1" in said.out) == (exits.OK, True)
    asked = gateway.seen[-1]
    assert set(asked.states) == {ingest_service_pb2.INGEST_JOB_STATE_FAILED, ingest_service_pb2.INGEST_JOB_STATE_RUNNING}
    assert asked.text == "nightly"
    assert asked.created_after.ToDatetime(UTC) == datetime(2026, 11, 1).astimezone(), "a day begins here, not in London"
    assert asked.created_before.ToDatetime(UTC) == datetime(2026, 11, 23, 12, tzinfo=UTC)
    gateway.jobs.clear()
    assert lookalike("jobs", "list", "--state", "failed").err == "no such jobs\n"
    assert "starts one" in lookalike("jobs", "list").err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--state", "done"), "--state: 'done' is not one of pending, planning, running"),
        (("--since", "yesterday"), "--since: 'yesterday' is not a day or a time such as 2026-11-23"),
        (("--until", "2026-13-01"), "--until: '2026-13-01'"),
    ],
)
def test_what_cannot_be_listed_by_is_one_line(
    gateway: FakeGateway, lookalike: Lookalike, arguments: tuple[str, ...], words: str
) -> None:
    said = lookalike("jobs", "list", *arguments)
    assert (said.code, said.err.count("\n"), words in said.err) == (exits.INVALID, 1, True)
    assert gateway.seen == []


def some_failures(count: int) -> list[ingest_service_pb2.ItemFailure]:
    return [
        ingest_service_pb2.ItemFailure(id=f"a,{n}", uri="file:///a", reason="IMAGE_UNREADABLE", message='"x",\ny', position=n)
        for n in range(count)
    ]


def test_all_failures_are_printed_as_csv_or_lines_of_json(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.failures = some_failures(120)
    header, *rows = csv.reader(io.StringIO(lookalike("jobs", "failures", "job-1", "--csv").out, newline=""))
    assert header == ["id", "uri", "reason", "message", "position"]
    assert rows == [[f"a,{n}", "file:///a", "IMAGE_UNREADABLE", '"x",\ny', str(n)] for n in range(120)]
    lines = lookalike("jobs", "failures", "job-1", "--json").out.splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(120))
    assert len(lookalike("jobs", "failures", "job-1", "--json", "-n", "3").out.splitlines()) == 3
    assert lookalike("jobs", "failures", "job-1", "--json", "--csv").code == exits.INVALID


def test_a_table_of_failures_says_when_it_is_not_all_of_them(gateway: FakeGateway, lookalike: Lookalike) -> None:
    gateway.failures = some_failures(51)
    said = lookalike("jobs", "failures", "job-1")
    assert (said.out.count("IMAGE_UNREADABLE"), said.err) == (50, "there are more; --limit 0 lists all\n")
    every = lookalike("jobs", "failures", "job-1", "--limit", "0")
    assert (every.out.count("IMAGE_UNREADABLE"), every.err) == (51, "")


def test_a_job_without_failures_says_so_and_prints_no_row(gateway: FakeGateway, lookalike: Lookalike) -> None:
    for options, out in (((), ""), (("--json",), ""), (("--csv",), "id,uri,reason,message,position\n")):
        said = lookalike("jobs", "failures", "job-1", *options)
        assert (said.code, said.out, said.err) == (exits.OK, out, "no item of this job has failed\n")
