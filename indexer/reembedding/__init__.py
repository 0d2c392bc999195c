"""Re-embeds a collection while it is searched and written. Every step is a unit of a job like any other's, so a kill is a lease
that runs out, and no fact is known to the process alone.

    generations.py  the catalogue's side: begin, switch, drop; each one write under the collection's write lock
    chunks.py       one chunk: read the stored images again, embed them with the new model, write those not written since
    comparison.py   how the answers of the two generations compare
    finish.py       the last unit: see that nothing is missing, compare, switch
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer.chunk.pipeline import ChunkParts
from indexer.reembedding.chunks import Chunks
from indexer.reembedding.finish import Finish
from indexer.reembedding.generations import Generations
from lookalike.jobs.leases import Leases
from lookalike.jobs.ledger import Ledger
from lookalike.store.protocols import Catalogue


@dataclass(frozen=True, slots=True)
class Reembedding:
    """The parts; thread-safe."""

    generations: Generations
    chunks: Chunks
    finish: Finish


def make_reembedding(ledger: Ledger, leases: Leases, catalogue: Catalogue, parts: ChunkParts) -> Reembedding:
    writes, store, timeout_s = parts.writes, parts.store, parts.store_timeout_s
    generations = Generations(ledger, writes, catalogue, store, parts.embedder, store_timeout_s=timeout_s)
    return Reembedding(generations, Chunks(parts), Finish(leases, writes, store, generations, store_timeout_s=timeout_s))
