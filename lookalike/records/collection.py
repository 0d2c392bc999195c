"""What a collection is: its model, spaces and generations.

A collection is searched in its *current* generation. While it is re-embedded, and for a time of grace after that, it has an
*other* one beside it: every write goes to both, no search to the other. A space whose fingerprint is the same in both is one
physical collection that they share.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, field, replace

from lookalike.errors import Internal, NotFound
from lookalike.names import physical_name
from lookalike.spaces import HistogramSettings, Space


class GenerationState(enum.Enum):
    """Why a collection has a second generation."""

    FILLING = "filling"
    """A job fills it; it is not searched yet."""
    PREVIOUS = "previous"
    """It was searched before the last switch, and can be gone back to until it is dropped."""


@dataclass(frozen=True, slots=True)
class OtherGeneration:
    """A generation that is written beside the one that is searched. `job_id` is the job that fills it, or that filled the one
    that is searched; it is dropped at `drop_at`, which knows its time zone and is None while it is being filled."""

    generation: int
    state: GenerationState
    model: str
    spaces: tuple[Space, ...]
    job_id: str
    drop_at: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of images that is searched together, bound to one version of one model: the fingerprint of the space
    `siamese` says which. `model` and `spaces` are those of the current generation; `generation` counts from 1."""

    name: str
    uid: str
    """Random hex, new at each creation; the server's own, "" in the client."""
    description: str
    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
    generation: int
    created_at: datetime.datetime
    other: OtherGeneration | None = None
    exact: bool = field(default=False, compare=False)
    """Whether a search compares the query with every image, and `ef` changes nothing: a matter of the store."""
    image_count: int = field(default=0, compare=False)
    """How many images it holds; counted for who asks for the collection, and 0 in the catalogue."""

    def space(self, name: str) -> Space:
        """The space called `name`. Raises `NotFound` naming those there are."""
        for space in self.spaces:
            if space.name == name:
                return space
        there = ", ".join(space.name for space in self.spaces)
        raise NotFound("space", name, hint=f"collection {self.name!r} has {there}", field="spaces")

    def physical(self, space: str) -> str:
        """The Milvus collection that holds `space`. Raises `NotFound` as `space` does."""
        return self.physical_of(self.space(space))

    def physical_of(self, space: Space) -> str:
        """The Milvus collection that holds `space`, which is one of `written`."""
        return physical_name(self.name, space.name, space.fingerprint)

    @property
    def other_spaces(self) -> tuple[Space, ...]:
        """The spaces that only the other generation has; none where there is no other."""
        return () if self.other is None else tuple(space for space in self.other.spaces if space not in self.spaces)

    @property
    def written(self) -> tuple[Space, ...]:
        """The spaces of both generations in the order in which they are written; deletes go in the reverse one.

        The last space of either generation comes after all its others, and the current one's last of all: whatever a kill
        interrupts, a row in the last space of a generation means that the image is in every space of that generation.
        """
        if self.other is None:
            return self.spaces
        last = (self.other.spaces[-1], self.spaces[-1])
        first = tuple(space for space in (*self.other_spaces, *self.spaces) if space not in last)
        return (*first, *(space for space in last[:1] if space != last[1]), last[1])

    @property
    def physicals(self) -> frozenset[str]:
        """Every Milvus collection that this one names."""
        return frozenset(self.physical_of(space) for space in self.written)

    def as_other(self) -> Collection:
        """The other generation as a collection by itself, to read and to embed for. Raises `Internal` where there is none."""
        if self.other is None:
            raise Internal(f"collection {self.name!r} has one generation only")
        other = self.other
        return replace(self, model=other.model, spaces=other.spaces, generation=other.generation, other=None)

    def written_as(self, collection: Collection) -> bool:
        """Whether what was embedded for `collection` can be written to this one as it is."""
        return (self.uid, self.generation, self.spaces, self.other_spaces) == (
            collection.uid, collection.generation, collection.spaces, collection.other_spaces,
        )  # fmt: skip
