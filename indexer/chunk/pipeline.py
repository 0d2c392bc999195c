"""Works one chunk off: read -> skip what is unchanged -> embed -> write every space under the collection's lock.

Pictures that the embedder may have died of come last, alone, when the rest is written: see `calls`.

Called by `worker` with the chunk's lease. Bad items are values, not exceptions; an exception means that the chunk as a whole
cannot go on now. At most a few calls' worth of pictures are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from indexer.chunk.comparing import to_embed
from indexer.chunk.embed_batches import Calls
from indexer.chunk.embedder import Embedded, Embedder, embed_everywhere
from indexer.chunk.fetching import Fetcher
from indexer.chunk.items import Failed, Fetched, Outcome, Ready, Work, failed
from indexer.chunk.writing import Writer
from lookalike.errors import LookalikeError
from lookalike.items import Item
from lookalike.jobs.ledger import Ledger
from lookalike.records.image import StoredImage
from lookalike.store.milvus.vectors import VectorStore
from lookalike.writes import Writes


class Pipeline:
    """Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        writes: Writes,
        store: VectorStore,
        fetcher: Fetcher,
        embedder: Embedder,
        calls: Calls,
        *,
        store_timeout_s: float,
    ) -> None:
        self._ledger, self._store, self._embedder, self._calls = ledger, store, embedder, calls
        self._fetcher = fetcher
        self._writer = Writer(ledger, writes, store, store_timeout_s=store_timeout_s)
        self._store_timeout_s = store_timeout_s

    def run(self, work: Work) -> list[Outcome]:
        """What became of every item, each exactly once. Every `Indexed` one is in every space.

        Raises `TRANSIENT` errors (nothing is lost; do the chunk again), `Draining`, `LeaseLost`, and other errors of ours where
        the job as a whole cannot go on.
        """
        outcomes, ready, aside = self._prepare(work)
        with work.stages.of("write"):
            outcomes += self._writer.write(work, ready)
        if aside:
            suspected = replace(work, items=aside)
            more, ready, _ = self._prepare(suspected, alone=True)
            with work.stages.of("write"):
                outcomes += more + self._writer.write(suspected, ready)
        return outcomes

    def prepare(self, work: Work) -> tuple[list[Outcome], list[Ready]]:
        """What became of the items that are not to be written, and those that are. Raises as `run`."""
        outcomes, ready, aside = self._prepare(work)
        if aside:
            more, more_ready, _ = self._prepare(replace(work, items=aside), alone=True)
            outcomes, ready = outcomes + more, ready + more_ready
        return outcomes, ready

    def _prepare(self, work: Work, *, alone: bool = False) -> tuple[list[Outcome], list[Ready], list[Item]]:
        """As `prepare`, and the items whose pictures are to be sent `alone`."""
        stages = work.stages
        outcomes: list[Outcome] = [Failed(i, i.problem_reason, i.problem) for i in work.items if i.problem]
        good = [item for item in work.items if not item.problem]
        with stages.of("read"):
            stored = self._stored(work, good)
            # An older job still under way could write over what is skipped here, so that the older one would win.
            may_skip = not self._ledger.older_job_active(work.collection.name, work.job.revision)
        contents = self._fetcher.fetch(good, work.interruption, stages)
        ready: list[Ready] = []
        aside: list[Item] = []
        fetched = to_embed(work, contents, stored, outcomes, ready, may_skip=may_skip)
        ready += self._embedded(work, fetched, outcomes, None if alone else aside)
        return outcomes, ready, aside

    def _stored(self, work: Work, items: Sequence[Item]) -> dict[str, tuple[StoredImage, ...]]:
        ids = [item.id for item in items]
        return self._store.get_everywhere(work.collection, ids, timeout_s=self._store_timeout_s) if ids else {}

    def _embedded(
        self, work: Work, fetched: Iterable[Fetched], outcomes: list[Outcome], aside: list[Item] | None
    ) -> list[Ready]:
        """Everything embedded, for both generations where there are two; what could not be goes to `outcomes`, suspects go to
        `aside`, or are sent alone where that is None."""

        def embed(contents: Sequence[bytes]) -> list[tuple[Embedded, Embedded]]:
            return embed_everywhere(self._embedder, work.collection, contents, work.interruption, work.stages)

        ready: list[Ready] = []
        for one, made in self._calls.made(fetched, embed, work, aside):
            vectors, other_vectors = (made, made) if isinstance(made, LookalikeError) else made
            if isinstance(vectors, LookalikeError):
                outcomes.append(failed(one.item, vectors))
            elif isinstance(other_vectors, LookalikeError):
                outcomes.append(failed(one.item, other_vectors))
            else:
                ready.append(Ready(one.item, one.sha256, vectors, other_vectors))
        return ready
