"""The report of a job, with its time by stage and its rate over time, from the counters that `lua/record.lua` keeps.

The gateway calls it. Every figure was counted with the outcome of its chunk, so exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from lookalike.errors import NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.stored_job import FIRST_STRETCH_MS
from lookalike.records.job import Rate, Report


def read_report(ledger: Ledger, job_id: str) -> Report:
    """The report of a job, also while it runs. Raises `NotFound` ("ingest job"), `Unavailable`."""
    with ledger.connection.commands() as client, client.pipeline(transaction=True) as pipeline:
        pipeline.hgetall(f"lookalike:job:{job_id}")
        pipeline.hgetall(f"lookalike:job:{job_id}:rates")
        pipeline.time()
        fields, stretches, (seconds, microseconds) = pipeline.execute()
    if not fields:
        raise NotFound("ingest job", job_id[:64], field="id")
    created_ms = int(fields["created_ms"])
    ended_ms = int(fields.get("ended_ms", seconds * 1000 + microseconds // 1000))
    elapsed_ms = max(0, ended_ms - created_ms)
    planning_ms = min(elapsed_ms, max(0, int(fields.get("planned_ms", ended_ms)) - created_ms))
    rates = _rates(stretches)
    working_s = (elapsed_ms - planning_ms) / 1000
    return Report(
        job=ledger.job_from(job_id, fields, now_ms=seconds * 1000),
        elapsed=timedelta(milliseconds=elapsed_ms),
        planning=timedelta(milliseconds=planning_ms),
        items_per_s=sum(rate.items for rate in rates) / working_s if working_s > 0 else 0.0,
        stage_durations={
            name[len("stage:") :]: timedelta(milliseconds=int(milliseconds))
            for name, milliseconds in fields.items()
            if name.startswith("stage:")
        },
        rates=rates,
    )


def _rates(stretches: Mapping[str, str]) -> tuple[Rate, ...]:
    duration = timedelta(milliseconds=int(stretches.get("width_ms", FIRST_STRETCH_MS)))
    items = {int(at): int(count) for at, count in stretches.items() if at != "width_ms"}
    return tuple(Rate(at * duration, duration, items.get(at, 0)) for at in range(max(items, default=-1) + 1))
