"""Records what came of a chunk, once: its outcome file first, then its counts in the ledger. Called by `worker`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from indexer.chunk.comparing import place
from indexer.chunk.items import Failed, Indexed, Outcome, Skipped
from indexer.chunk.stages import ITEMS, Stages
from lookalike.errors import LeaseLost
from lookalike.jobs.leases import ChunkCounts, Lease, Leases
from lookalike.jobs.outcomes import ItemOutcome, Outcomes


def record(leases: Leases, files: Outcomes, lease: Lease, outcomes: Sequence[Outcome], stages: Stages) -> None:
    """Raises `LeaseLost` where the chunk has been recorded by another worker, or will be; nothing is counted then."""
    written = sorted(map(_written, outcomes), key=lambda one: one.position)
    files.write(lease.job_id, lease.chunk, lease.owner, written)
    ended = Counter(one.outcome for one in written)
    skipped = Counter(one.reason for one in outcomes if isinstance(one, Skipped))
    if not leases.record(lease, ChunkCounts(ended["indexed"], ended["failed"], skipped, stages.seconds)):
        raise LeaseLost("the chunk has been recorded by another worker, or will be")
    for outcome in ("indexed", "skipped", "failed"):
        ITEMS.labels(outcome).inc(ended[outcome])
    stages.observe()


def _written(one: Outcome) -> ItemOutcome:
    item = one.item
    match one:
        case Indexed():
            return ItemOutcome(item.position, item.id, place(item), "indexed")
        case Skipped():
            return ItemOutcome(item.position, item.id, place(item), "skipped", one.reason)
        case Failed():
            return ItemOutcome(item.position, item.id, place(item), "failed", one.reason, one.message)
