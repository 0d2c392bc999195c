"""What passes through the pipeline: a chunk to work off, its items on their way, and what became of them."""

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
class Work:
    """One chunk to work off: whose, into which collection, and when to lay it down."""

    job: Job
    collection: Collection
    items: Sequence[Item]
    lease: Lease
    interruption: Interruption
    stages: Stages = field(default_factory=Stages)
    """Where its time goes."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An item whose bytes are here. `sha256` is theirs, 64 hex digits."""

    item: Item
    content: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, slots=True)
class Ready:
    """An item that can be written: its vectors by space, and those of the spaces that only the other generation has.

    No vectors at all: the image keeps those it has, which are of the same bytes.
    """

    item: Item
    sha256: str
    vectors: Mapping[str, Vector] = field(repr=False)
    other_vectors: Mapping[str, Vector] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Indexed:
    """In every space."""

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
    return Failed(item, error.reason, error.message)
