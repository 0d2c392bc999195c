"""Re-embeds a collection while it is searched and written. Every step is a unit of a job like any other's, so a kill is a lease
that runs out, and no fact is known to the process alone.

    generations.py  the catalogue's side: begin, switch, drop; each one write under the collection's write lock
    chunks.py       one chunk: read the stored images again, embed them with the new model, write those not written since
    comparison.py   how the answers of the two generations compare
    finish.py       the last unit: see that nothing is missing, compare, switch
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer.chunk.embed_batches import EmbedBatches
from indexer.chunk.embedder import Embedder
from indexer.chunk.fetching import Fetcher
from indexer.reembedding.chunks import Chunks
from indexer.reembedding.finish import Finish
from indexer.reembedding.generations import Generations
from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger
from lookalike.store.protocols import Catalogue, Vectors
from lookalike.writes import Writes


@dataclass(frozen=True, slots=True)
class Reembedding:
    """The parts; thread-safe."""

    generations: Generations
    chunks: Chunks
    finish: Finish


def make_reembedding(
    ledger: Ledger,
    leases: Leases,
    writes: Writes,
    catalogue: Catalogue,
    store: Vectors,
    fetcher: Fetcher,
    embedder: Embedder,
    batches: EmbedBatches,
    *,
    store_timeout_s: float,
) -> Reembedding:
    generations = Generations(ledger, writes, catalogue, store, embedder, store_timeout_s=store_timeout_s)
    return Reembedding(
        generations,
        Chunks(writes, store, fetcher, embedder, batches, store_timeout_s=store_timeout_s),
        Finish(leases, writes, store, generations, store_timeout_s=store_timeout_s),
    )
