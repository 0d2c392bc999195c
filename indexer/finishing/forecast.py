"""The last unit of a dry run, and its only one after planning: try some items, say what the whole job would take.

Called by `worker`. Nothing is written but the forecast.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from indexer.chunk.comparing import place
from indexer.chunk.items import Chunk, Failed, Skipped
from indexer.chunk.pipeline import Pipeline
from indexer.finishing.mirror import Mirror, check_complete
from indexer.interruption import Interruption
from lookalike.artifacts import Artifacts
from lookalike.errors import LeaseLost
from lookalike.items import Item
from lookalike.jobs.leases import Lease, Leases
from lookalike.jobs.ledger import Ledger
from lookalike.jobs.manifest import read_columns, read_spread
from lookalike.jobs.report import read_report
from lookalike.jobs.stored_job import finding_text
from lookalike.records.collection import Collection
from lookalike.records.job import Forecast, Job
from lookalike.sizing import growth

SAMPLE = 100
"""The items that are tried: where none of 100 fails, fewer than 3 % of all would (the rule of three)."""
OF_SAMPLE_RATE = 0.75
"""The rate of a job, as a share of that of reading and embedding alone, since writing costs the rest. A round figure between
the .63 and .83 that jobs were measured at beside the embedder alone (row `bulk_ingest` of `tests/bench`)."""


class Forecaster:
    """Thread-safe."""

    def __init__(self, ledger: Ledger, leases: Leases, pipeline: Pipeline, mirror: Mirror, artifacts: Artifacts) -> None:
        self._ledger, self._leases, self._pipeline, self._mirror = ledger, leases, pipeline, mirror
        self._artifacts = artifacts

    def run(self, job: Job, collection: Collection, lease: Lease, interruption: Interruption) -> None:
        """Record the forecast of `job`. Raises as `Pipeline.prepare`, and as `Mirror.run` where the job would mirror."""
        if job.options.mirror:
            check_complete(job)
        reasons = Counter(str(reason) for (reason,) in read_columns(self._artifacts, job.manifest, "problem_reason") if reason)
        items = [item for item in read_spread(self._artifacts, job.manifest, SAMPLE) if not item.problem]
        forecast = self._forecast(Chunk(job, collection, items, lease, interruption), reasons)
        if not self._leases.finished(lease, forecast=finding_text(forecast)):
            raise LeaseLost("the last unit has been recorded by another worker, or the job was stopped")

    def _forecast(self, chunk: Chunk, reasons: Counter[str]) -> Forecast:
        job, items, broken = chunk.job, chunk.items, reasons.total()
        started_s = time.perf_counter()
        outcomes, ready = self._pipeline.prepare(chunk)
        sample_s = time.perf_counter() - started_s
        failed = [one for one in outcomes if isinstance(one, Failed)]
        # An image that is stored already, or only gets new metadata, takes no room.
        new = sum(1 for one in ready if one.vectors)
        good = job.counts.submitted - job.counts.skipped - broken
        of_all = good / max(1, len(items))
        room = growth(chunk.collection.spaces, round(new * of_all), _mean_facts_bytes(items))
        planning = read_report(self._ledger, job.id).planning
        deleted = self._mirror.absent(job, chunk.collection, chunk.interruption) if job.options.mirror else ()
        return Forecast(
            sampled=len(items),
            unchanged=sum(1 for one in outcomes if isinstance(one, Skipped)),
            sample_failed=len(failed),
            broken=broken,
            reasons=dict(reasons + Counter(one.reason for one in failed)),
            failed=broken + round(len(failed) * of_all),
            duration=planning + timedelta(seconds=sample_s * of_all / OF_SAMPLE_RATE),
            memory_bytes=room.memory_bytes,
            disk_bytes=room.disk_bytes,
            passing_disk_bytes=room.passing_disk_bytes,
            deleted=sum(map(len, deleted)),
        )


def _mean_facts_bytes(items: Sequence[Item]) -> float:
    sizes = [len(f"{item.id}{place(item)}{json.dumps(item.metadata, ensure_ascii=False)}".encode()) for item in items]
    return sum(sizes) / max(1, len(sizes))
