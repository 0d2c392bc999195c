"""How a unit of work shows in traces. Called by `worker`."""

from __future__ import annotations

from contextlib import AbstractContextManager

from lookalike.jobs.leases import FINISH, PLAN, Lease
from lookalike.records.job import Job
from lookalike.runtime import tracing

CHUNKS_IN_TRACE = 64
"""Of one job: some 16,000 pictures, a thousand spans."""


def unit_span(job: Job, lease: Lease) -> AbstractContextManager[None]:
    """A span for a unit, within the trace of the call that asked for the job.

    Nobody could look at the trace of a job of thousands of chunks, so from the 65th on each begins a trace of its own, with a
    link to that one.
    """
    is_chunk = lease.unit not in (PLAN, FINISH)
    alone = is_chunk and lease.chunk >= CHUNKS_IN_TRACE
    return tracing.span(
        "chunk" if is_chunk else lease.unit,
        parent="" if alone else job.trace,
        linked=job.trace if alone else None,
        attributes={"lookalike.job": job.id, "lookalike.unit": lease.unit, "lookalike.attempt": lease.attempt},
    )
