"""What the task for plain Celery producers does with a request, by its log, since no caller waits for an answer."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Retry
from structlog.testing import capture_logs

from indexer.tasks import build_app
from lookalike.errors import Unavailable
from lookalike.jobs.queue import CREATE_TASK
from tests.unit.indexer.conftest import Bench


def create(bench: Bench, request: Any) -> list[Any]:
    """Run the task; what it logged."""
    with capture_logs() as logged:
        build_app("memory://", bench.worker).tasks[CREATE_TASK](request)
    return list(logged)


def request(bench: Bench, **changes: object) -> dict[str, object]:
    return {
        "collection": "products",
        "request_id": "nightly-7",
        "source": {"folder": {"uri": str(bench.folder / "data")}},
        **changes,
    }


def test_a_job_made_is_logged_with_its_request(bench: Bench) -> None:
    (line,) = create(bench, request(bench))
    (job,) = bench.ledger.list(None, 10, "")[0]
    assert (line["event"], line["job"], line["request_id"]) == ("ingest job made", job.id, "nightly-7")


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"collection": "nope"}, "COLLECTION_NOT_FOUND", None),
        ({"collection": "Not A Name"}, "INVALID_ARGUMENT", "collection"),
        ({"source": {"manifest": {"uri": "/elsewhere/m.csv"}}}, "SOURCE_FORBIDDEN", "source.manifest.uri"),
        ({"surprise": 1}, "INVALID_ARGUMENT", "request"),
    ],
)
def test_a_refused_request_is_logged_with_its_id_and_the_field_at_fault(
    bench: Bench, changes: dict[str, object], reason: str, field: str | None
) -> None:
    (line,) = create(bench, request(bench, **changes))
    assert (line["event"], line["request_id"]) == ("ingest job refused", "nightly-7")
    assert (line["reason"], line["field"]) == (reason, field)


@pytest.mark.parametrize("broken", ["text", ["list"], None, {"request_id": 7 * "x" * 100}])
def test_what_is_no_request_is_refused_and_ends_nothing(bench: Bench, broken: object) -> None:
    (line,) = create(bench, broken)
    assert line["event"] == "ingest job refused"
    assert len(line["request_id"]) <= 128


def test_a_request_that_meets_an_outage_is_put_back(bench: Bench) -> None:
    def away(name: str, *, fresh: bool = False) -> Any:
        raise Unavailable("milvus", "away")

    bench.catalogue.get = away  # type: ignore[method-assign]
    with pytest.raises((Retry, Unavailable)), capture_logs() as logged:
        build_app("memory://", bench.worker).tasks[CREATE_TASK](request(bench))
    assert [line["event"] for line in logged] == ["ingest job not made yet"]
    assert bench.ledger.list(None, 10, "")[0] == []
