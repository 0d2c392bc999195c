"""The report of a job, with its time by stage and its rate over time, from the counters that `lua/record.lua` keeps.

The gateway calls it. Every figure was counted with the outcome of its chunk, so exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    elapsed_s = max(0, ended_ms - created_ms) / 1000
    planning_s = min(elapsed_s, max(0, int(fields.get("planned_ms", ended_ms)) - created_ms) / 1000)
    rates = _rates(stretches)
    working_s = elapsed_s - planning_s
    return Report(
        job=ledger.job_from(job_id, fields, now_ms=seconds * 1000),
        elapsed_s=elapsed_s,
        planning_s=planning_s,
        items_per_s=sum(rate.items for rate in rates) / working_s if working_s > 0 else 0.0,
        stage_seconds={
            name[len("stage:") :]: int(milliseconds) / 1000
            for name, milliseconds in fields.items()
            if name.startswith("stage:")
        },
        rates=rates,
    )


def _rates(stretches: Mapping[str, str]) -> tuple[Rate, ...]:
    length_s = int(stretches.get("width_ms", FIRST_STRETCH_MS)) / 1000
    items = {int(at): int(count) for at, count in stretches.items() if at != "width_ms"}
    return tuple(Rate(at * length_s, length_s, items.get(at, 0)) for at in range(max(items, default=-1) + 1))
