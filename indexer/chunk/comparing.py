"""Compares what was read with what is stored: what is unchanged is skipped, what has the same bytes keeps its vectors.

Called by `pipeline` before anything is embedded, and by `chunk_writer` for the metadata that an image keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from indexer.chunk.items import Chunk, Fetched, Indexed, Outcome, Skipped, ToWrite, failed
from lookalike.errors import LookalikeError
from lookalike.items import Item
from lookalike.metadata import same_metadata
from lookalike.records.image import StoredImage
from lookalike.records.job import SKIPPED_UNCHANGED

NEAR_DUPLICATE_OF = "near_duplicate_of"
"""The metadata key under which a job that links near-duplicates names the nearest one."""


Compared = Fetched | ToWrite | Outcome
"""An item that was read, after a look at the store: to be embedded, to be written with the vectors that it has, or done."""


def compare(
    chunk: Chunk,
    contents: Iterable[tuple[Item, bytes | LookalikeError]],
    stored: Mapping[str, Sequence[StoredImage]],
    *,
    may_skip: bool,
) -> Iterator[Compared]:
    """One value for each of `contents`, in order. `stored` holds the rows by id; what is unchanged is skipped where it
    `may_skip`, else written anew."""
    for item, content in contents:
        if isinstance(content, LookalikeError):
            yield failed(item, content)
            continue
        sha256 = hashlib.sha256(content).hexdigest()
        rows = stored.get(item.id, ())
        if not same_bytes(rows, sha256, chunk):
            yield Fetched(item, content, sha256)
        elif may_skip and all(_same_facts(row, item) for row in rows):
            # A revision of this very job was written by a worker that died before it could record the chunk.
            by_this_job = all(row.revision == chunk.job.revision for row in rows)
            yield Indexed(item) if by_this_job else Skipped(item, SKIPPED_UNCHANGED)
        else:
            yield ToWrite(item, sha256, {})


def same_bytes(rows: Sequence[StoredImage], sha256: str, chunk: Chunk) -> bool:
    """Whether the vectors in every space of both generations are those of these bytes."""
    return len(rows) == len(chunk.collection.written) and all(row.sha256 == sha256 for row in rows)


def written_whole(chunk: Chunk, rows: Sequence[StoredImage]) -> bool:
    """Whether this very job has written the image in every space of both generations."""
    return len(rows) == len(chunk.collection.written) and all(row.revision == chunk.job.revision for row in rows)


def kept_link(metadata: Mapping[str, object], stored: Mapping[str, object]) -> dict[str, object]:
    """`metadata` of an item whose picture is stored already, with the link to a near-duplicate that a job has added."""
    if NEAR_DUPLICATE_OF in stored:
        return {NEAR_DUPLICATE_OF: stored[NEAR_DUPLICATE_OF], **metadata}
    return dict(metadata)


def place(item: Item) -> str:
    """The URI that is stored with an image: for people, where it came from. The bytes of an upload are found by their hash."""
    return item.origin or item.uri


def _same_facts(row: StoredImage, item: Item) -> bool:
    return row.uri == place(item) and same_metadata(row.metadata, kept_link(item.metadata, row.metadata))
