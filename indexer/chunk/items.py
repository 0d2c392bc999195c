"""What passes through the pipeline: a chunk, its items on their way (`Fetched`, `ToWrite`), and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from indexer.chunk.stages import Stages
from indexer.interruption import Interruption
from lookalike.errors import LookalikeError
from lookalike.items import Item
from lookalike.jobs.leases import Lease
from lookalike.records.collection import Collection
from lookalike.records.job import Job
from lookalike.spaces import Vector


@dataclass(frozen=True, slots=True)
class Chunk:
    """The items of one chunk, its job, the collection that they go into, and when to stop."""

    job: Job
    collection: Collection
    items: Sequence[Item]
    lease: Lease
    interruption: Interruption
    stages: Stages = field(default_factory=Stages)
    """The time that the chunk spends in each stage."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An item with its bytes, to be embedded. `sha256` is that of the bytes, 64 hex digits."""

    item: Item
    content: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True)
class ToWrite:
    """An item that is to be written: its vectors by space, and those of the spaces that only the other generation has.

    Without any vectors the image keeps those it has, which are of the same bytes.
    """

    item: Item
    sha256: str
    vectors: Mapping[str, Vector] = field(repr=False)
    other_vectors: Mapping[str, Vector] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Indexed:
    """Written, in every space."""

    item: Item


@dataclass(frozen=True, slots=True)
class Skipped:
    """Left out on purpose; reasons are in `lookalike.records.job`."""

    item: Item
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Could not be indexed: `reason` UPPER_SNAKE, `message` one line."""

    item: Item
    reason: str
    message: str


Outcome = Indexed | Skipped | Failed


def failed(item: Item, error: LookalikeError) -> Failed:
    """The outcome of an item that `error` is about."""
    return Failed(item, error.reason, error.message)
