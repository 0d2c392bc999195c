"""Works one chunk off: read -> skip what is unchanged -> embed -> write every space under the collection's lock.

Pictures that the embedder may have died of come last, alone, when the rest is written: see `embed_batches`.

Called by `worker` with the chunk's lease. Bad items are values, not exceptions; an exception means that the chunk as a whole
cannot go on now. At most a few calls' worth of pictures are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from indexer.chunk.chunk_writer import Writer
from indexer.chunk.comparing import compare
from indexer.chunk.embed_batches import EmbedBatches, Prepared, Suspect
from indexer.chunk.embedder import Embedder, embed_everywhere
from indexer.chunk.fetching import Fetcher
from indexer.chunk.items import Chunk, Failed, Fetched, Outcome, ToWrite, failed
from lookalike.errors import LookalikeError
from lookalike.items import Item
from lookalike.jobs.ledger import Ledger
from lookalike.records.image import StoredImage
from lookalike.records.model import Embedding
from lookalike.store.protocols import Vectors
from lookalike.writes import Writes


@dataclass(frozen=True, slots=True)
class ChunkParts:
    """What a chunk is worked off with, whether its job ingests or re-embeds. `store_timeout_s`: of one read from the store."""

    writes: Writes
    store: Vectors
    fetcher: Fetcher
    embedder: Embedder
    batches: EmbedBatches
    store_timeout_s: float


class Pipeline:
    """Thread-safe."""

    def __init__(self, ledger: Ledger, parts: ChunkParts) -> None:
        self._ledger, self._parts = ledger, parts
        self._writer = Writer(ledger, parts.writes, parts.store, store_timeout_s=parts.store_timeout_s)

    def run(self, chunk: Chunk) -> list[Outcome]:
        """What became of every item, each exactly once. Every `Indexed` one is in every space.

        Raises `TRANSIENT` errors (nothing is lost; do the chunk again), `Draining`, `LeaseLost`, and another `LookalikeError`
        where the job as a whole cannot go on.
        """
        prepared = self._prepare(chunk)
        outcomes = prepared.outcomes + self._written(chunk, prepared.ready)
        if prepared.suspects:
            suspected = replace(chunk, items=prepared.suspects)
            prepared = self._prepare(suspected, alone=True)
            outcomes += prepared.outcomes + self._written(suspected, prepared.ready)
        return outcomes

    def prepare(self, chunk: Chunk) -> tuple[list[Outcome], list[ToWrite]]:
        """What became of the items that are not to be written, and those that are. Raises as `run`."""
        first = self._prepare(chunk)
        if not first.suspects:
            return first.outcomes, first.ready
        second = self._prepare(replace(chunk, items=first.suspects), alone=True)
        return first.outcomes + second.outcomes, first.ready + second.ready

    def _written(self, chunk: Chunk, ready: Sequence[ToWrite]) -> list[Outcome]:
        with chunk.stages.of("write"):
            return self._writer.write(chunk, ready)

    def _prepare(self, chunk: Chunk, *, alone: bool = False) -> Prepared:
        """One pass: read, compare and embed. Suspects are left for a second pass, in which each is sent `alone`."""
        good = [item for item in chunk.items if not item.problem]
        prepared = Prepared([Failed(item, item.problem_reason, item.problem) for item in chunk.items if item.problem])
        with chunk.stages.of("read"):
            stored = self._stored(chunk, good)
            # An older job under way could write over an image that is skipped here, and the older revision would win.
            may_skip = not self._ledger.older_job_active(chunk.collection.name, chunk.job.revision)
        contents = self._parts.fetcher.fetch(good, chunk.interruption, chunk.stages)
        compared = compare(chunk, contents, stored, may_skip=may_skip)
        for one in self._embedded(chunk, prepared.to_embed(compared), alone=alone):
            prepared.add(one)
        return prepared

    def _stored(self, chunk: Chunk, items: Sequence[Item]) -> dict[str, tuple[StoredImage, ...]]:
        ids = [item.id for item in items]
        return self._parts.store.get_everywhere(chunk.collection, ids, timeout_s=self._parts.store_timeout_s) if ids else {}

    def _embedded(self, chunk: Chunk, fetched: Iterable[Fetched], *, alone: bool) -> Iterator[ToWrite | Failed | Suspect]:
        """Each of `fetched` with its vectors, for both generations where there are two."""

        def embed(contents: Sequence[bytes]) -> list[tuple[Embedding, Embedding]]:
            return embed_everywhere(self._parts.embedder, chunk.collection, contents, chunk.interruption, chunk.stages)

        for made in self._parts.batches.run(fetched, embed, chunk, alone=alone):
            if isinstance(made, Suspect):
                yield made
                continue
            one, result = made
            vectors, other_vectors = (result, result) if isinstance(result, LookalikeError) else result
            if isinstance(vectors, LookalikeError):
                yield failed(one.item, vectors)
            elif isinstance(other_vectors, LookalikeError):
                yield failed(one.item, other_vectors)
            else:
                yield ToWrite(one.item, one.sha256, vectors, other_vectors)
