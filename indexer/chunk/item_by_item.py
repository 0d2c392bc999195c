"""Works off a chunk that workers have died of, item by item, so that the deadly item fails alone. Called by `worker`.

The ledger holds which item is begun. Where an item is still noted when the chunk is taken again, a worker died of the item, or
beside it: all chunks of a process die together. Such an item comes last the next time, and fails after `MOST_DEATHS`. Items
that are done are written, so that no death costs more than the item that was under way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import itemgetter

import structlog

from indexer.chunk.items import Chunk, Failed, Outcome
from lookalike.errors import LeaseLost, LookalikeError
from lookalike.jobs.leases import Leases
from lookalike.jobs.suspects import MOST_DEATHS, Suspects

KILLS_WORKER = "ITEM_KILLS_WORKER"
"""The reason of an item that workers died of, again and again, when they worked on it alone."""


class ItemByItem:
    """Thread-safe."""

    def __init__(self, leases: Leases, suspects: Suspects) -> None:
        self._leases, self._suspects = leases, suspects
        self._log = structlog.get_logger()

    def run(self, chunk: Chunk, run: Callable[[Chunk], Sequence[Outcome]], *, may_abandon: bool) -> list[Outcome] | None:
        """What became of every item; None where it `may_abandon` the chunk: no item was under way when its worker died.

        Raises as `run`.
        """
        died_of = self._leases.item_under_way(chunk.lease)
        if died_of is not None:
            deaths = self._suspects.died(_name(chunk, died_of))
            self._log.warning("a worker died over an item", job=chunk.job.id, position=died_of, deaths=deaths)
        elif may_abandon:
            return None
        counted = self._suspects.deaths([_name(chunk, item.position) for item in chunk.items])
        outcomes: list[Outcome] = []
        for item, deaths in sorted(zip(chunk.items, (of or 0 for of in counted), strict=True), key=itemgetter(1)):
            if deaths >= MOST_DEATHS:
                message = f"{MOST_DEATHS} workers died or broke down over this item alone; see their logs"
                outcomes.append(Failed(item, KILLS_WORKER, message))
                continue
            if not self._leases.begin_item(chunk.lease, item.position):
                raise LeaseLost("the lease went to another worker between two items")
            try:
                outcomes += run(replace(chunk, items=[item]))
            except LookalikeError:
                self._leases.begin_item(chunk.lease, None)
                raise
        self._leases.begin_item(chunk.lease, None)
        return outcomes


def _name(chunk: Chunk, position: int) -> str:
    return hashlib.sha256(f"{chunk.job.id}:{position}".encode()).hexdigest()
