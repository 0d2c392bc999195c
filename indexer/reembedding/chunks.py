"""Fills a chunk of stored images into the other generation. Called by `worker` with the chunk's lease.

An image keeps its revision, metadata and times: only its vectors change. An image that has been written or deleted since the
job was planned was written or deleted in both generations, so it is left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from indexer.chunk.chunk_writer import each_that_can, session_for
from indexer.chunk.embed_batches import Prepared, Suspect
from indexer.chunk.items import Chunk, Failed, Fetched, Indexed, Outcome, Skipped, ToWrite, failed
from indexer.chunk.pipeline import ChunkParts
from lookalike.errors import FailedPrecondition, LookalikeError, NotFound
from lookalike.items import Item
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.records.job import SKIPPED_SUPERSEDED
from lookalike.records.model import Embedding
from lookalike.sources import Artifacts
from lookalike.spaces import Space
from lookalike.store.generations import is_filled_by

Rows = Mapping[Space, StoredImage]
"""The rows of one image, by space."""


class Chunks:
    """Thread-safe."""

    def __init__(self, parts: ChunkParts) -> None:
        self._parts = parts

    def run(self, chunk: Chunk) -> list[Outcome]:
        """What became of every item, each exactly once. Raises as `Pipeline.run`, and `FailedPrecondition` REEMBED_GONE."""
        if not is_filled_by(chunk.collection, chunk.job.id):
            problem = f"collection {chunk.collection.name!r} has no generation that job {chunk.job.id!r} fills"
            raise FailedPrecondition(problem, reason="REEMBED_GONE")
        outcomes, suspects = self._pass(chunk, alone=False)
        if suspects:
            outcomes += self._pass(replace(chunk, items=suspects), alone=True)[0]
        return outcomes

    def _pass(self, chunk: Chunk, *, alone: bool) -> tuple[list[Outcome], list[Item]]:
        """Embed and write: the outcomes, and the suspects that are left for a pass in which each is sent `alone`."""
        prepared = Prepared()
        with chunk.stages.of("read"):
            rows = self._rows(chunk, [item.id for item in chunk.items])
        for one in self._embedded(chunk, prepared.to_embed(self._fetched(chunk, rows)), alone=alone):
            prepared.add(one)
        with chunk.stages.of("write"):
            return prepared.outcomes + self._write(chunk, prepared.ready), prepared.suspects

    def _rows(self, chunk: Chunk, ids: Sequence[str]) -> Mapping[str, Rows]:
        return self._parts.store.get_by_space(chunk.collection, ids, timeout_s=self._parts.store_timeout_s) if ids else {}

    def _fetched(self, chunk: Chunk, rows: Mapping[str, Rows]) -> Iterator[Fetched | Outcome]:
        """The bytes that each image was indexed from, or what became of it."""
        wanted: dict[str, tuple[Item, StoredImage]] = {}
        for item in chunk.items:
            settled = _settled(chunk, item, rows.get(item.id, {}))
            if isinstance(settled, StoredImage):
                wanted[item.id] = (item, settled)
            else:
                yield settled
        for image_id, content in self._contents(chunk, [stored for _, stored in wanted.values()]):
            item, stored = wanted[image_id]
            if isinstance(content, LookalikeError):
                yield failed(item, content)
            elif hashlib.sha256(content).hexdigest() != stored.sha256:
                problem = "what its URI names has changed since it was indexed; ingest it again"
                yield Failed(item, "SOURCE_CHANGED", problem)
            else:
                yield Fetched(item, content, stored.sha256)

    def _contents(self, chunk: Chunk, images: Sequence[StoredImage]) -> Iterator[tuple[str, bytes | LookalikeError]]:
        """By id: the uploaded original where there is one, else what the URI names."""
        uris = {image.id: image.uri for image in images}
        elsewhere: list[Item] = []
        originals = [Item(0, image.id, Artifacts.original_uri(image.sha256)) for image in images]
        for item, content in self._parts.fetcher.fetch(originals, chunk.interruption, chunk.stages):
            uri = uris[item.id]
            if not isinstance(content, NotFound):
                yield item.id, content
            elif not uri or uri == item.uri:
                hint = "its upload is no longer in the artifacts; ingest it again"
                yield item.id, NotFound("source", uri or item.uri, hint=hint)
            else:
                elsewhere.append(replace(item, uri=uri))
        for item, content in self._parts.fetcher.fetch(elsewhere, chunk.interruption, chunk.stages):
            yield item.id, content

    def _embedded(self, chunk: Chunk, fetched: Iterator[Fetched], *, alone: bool) -> Iterator[ToWrite | Failed | Suspect]:
        spaces = chunk.collection.other_spaces

        def embed(contents: Sequence[bytes]) -> list[Embedding]:
            return self._parts.embedder.embed(spaces, contents, chunk.interruption, stages=chunk.stages)

        for made in self._parts.batches.run(fetched, embed, chunk, alone=alone):
            if isinstance(made, Suspect):
                yield made
                continue
            one, vectors = made
            yield failed(one.item, vectors) if isinstance(vectors, LookalikeError) else ToWrite(one.item, one.sha256, vectors)

    def _write(self, chunk: Chunk, ready: Sequence[ToWrite]) -> list[Outcome]:
        """Write the images that are as they were when they were read, under the collection's lock. Raises as
        `ChunkWriter.write`."""
        if not ready:
            return []
        outcomes, images = list[Outcome](), dict[str, StoredImage]()
        with session_for(chunk, self._parts.writes) as session:
            rows = self._rows(chunk, [one.item.id for one in ready])
            for one in ready:
                settled = _settled(chunk, one.item, rows.get(one.item.id, {}))
                if not isinstance(settled, StoredImage):
                    outcomes.append(settled)
                elif settled.sha256 != one.sha256:
                    outcomes.append(Skipped(one.item, SKIPPED_SUPERSEDED))
                else:
                    images[one.item.id] = replace(settled, vectors=one.vectors)
            refused = each_that_can(session.fill, list(images.values()))
        for one in ready:
            if one.item.id in images:
                error = refused.get(one.item.id)
                outcomes.append(Indexed(one.item) if error is None else failed(one.item, error))
        return outcomes


def current_row(collection: Collection, rows: Rows) -> StoredImage | None:
    """The image as the current generation has it; None where it is there in no space, or in a part of them only."""
    return rows.get(collection.last)


def is_filled(collection: Collection, rows: Rows, current: StoredImage) -> bool:
    """Whether the other generation has the image as the current one has it, or newer: a killed writer has half written it,
    whose chunk is done again."""
    return all(space in rows and rows[space].revision >= current.revision for space in collection.other_spaces)


def _settled(chunk: Chunk, item: Item, rows: Rows) -> StoredImage | Outcome:
    """The image where it is to be filled in, else its outcome."""
    current = current_row(chunk.collection, rows)
    if current is None:
        return Skipped(item, SKIPPED_SUPERSEDED)
    if not is_filled(chunk.collection, rows, current):
        return current
    # Filled by a worker of this job that died before it could record the chunk, or by a later writer.
    return Indexed(item) if current.revision < chunk.job.revision else Skipped(item, SKIPPED_SUPERSEDED)
