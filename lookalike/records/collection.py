"""A collection: its spaces and generations.

A collection is searched in its *current* generation. While it is re-embedded, and for a time of grace after that, it has an
*other* generation too: every write goes to both, and no search to the other. A space with the same fingerprint in both is one
physical collection that they share.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from lookalike.errors import Internal, NotFound
from lookalike.names import physical_name
from lookalike.spaces import SIAMESE, ModelSettings, Space

R = TypeVar("R")


class GenerationState(enum.Enum):
    """The reason for a second generation."""

    FILLING = "filling"
    """A job fills it; it is not searched yet."""
    PREVIOUS = "previous"
    """It was searched before the last switch. A rollback returns to it until it is dropped."""


@dataclass(frozen=True, slots=True)
class OtherGeneration:
    """A generation that is written beside the current one. `job_id` is the job that fills it, or that filled the current one.
    The generation is dropped at `drop_time`, which has a time zone and is None while a job fills the generation. `written_last`
    is that of a collection."""

    generation: int
    state: GenerationState
    spaces: tuple[Space, ...]
    job_id: str
    drop_time: datetime.datetime | None = None
    written_last: str = ""


@dataclass(frozen=True, slots=True)
class CollectionDefaults:
    """What a search does where its request leaves it open: the spaces, their weights when several are fused, and the breadth
    `ef`. Empty, or 0, leaves it to the search itself."""

    spaces: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    ef: int = 0


NO_DEFAULTS = CollectionDefaults()


@dataclass(frozen=True, slots=True)
class CollectionUpdate:
    """New values of a collection, and the dotted `paths` of those fields that change."""

    name: str
    paths: tuple[str, ...]
    description: str = ""
    defaults: CollectionDefaults = NO_DEFAULTS

    def applied(self, collection: Collection) -> Collection:
        """`collection` with the new values."""
        for path in self.paths:
            collection = _with(collection, self, path)
        return collection


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of images that is searched together. `spaces` are those of the current generation, one or more; `generation`
    counts from 1."""

    name: str
    uid: str
    """Random hex, new at each creation; the server's own, "" in the client."""
    description: str
    spaces: tuple[Space, ...]
    generation: int
    create_time: datetime.datetime
    other: OtherGeneration | None = None
    exact: bool = field(default=False, compare=False)
    """Whether a search compares the query with every image, and `ef` changes nothing: a matter of the store."""
    image_count: int = field(default=0, compare=False)
    """The number of its images, counted when the gateway answers; 0 in the catalogue."""
    defaults: CollectionDefaults = NO_DEFAULTS
    written_last: str = ""
    """Name of the space that is written last: of those that the last re-embedding made anew, where there was one. "" means the
    last of `spaces`. The server's own, "" in the client."""

    def space(self, name: str, field: str = "spaces") -> Space:
        """The space called `name`. Raises `NotFound`, which names the collection's spaces and the `field` of the request."""
        for space in self.spaces:
            if space.name == name:
                return space
        there = ", ".join(space.name for space in self.spaces)
        raise NotFound("space", name, hint=f"collection {self.name!r} has {there}", field=field)

    def physical(self, space: str) -> str:
        """The Milvus collection that holds `space`. Raises `NotFound` as `space` does."""
        return self.physical_of(self.space(space))

    def physical_of(self, space: Space) -> str:
        """The Milvus collection that holds `space`, which is one of `written`."""
        return physical_name(self.name, space.name, space.fingerprint)

    @property
    def last(self) -> Space:
        """The space that is written last. A row in it means that the image is in every space of the current generation."""
        return _last(self.spaces, self.written_last)

    @property
    def model_spaces(self) -> tuple[Space, ...]:
        """The spaces that models fill, whose vectors are compared by cosine."""
        return tuple(space for space in self.spaces if isinstance(space.kind, ModelSettings))

    @property
    def default_space(self) -> Space:
        """The space of a search that names none: `siamese` where there is one, else the first that a model fills, else the
        first."""
        return next((space for space in self.spaces if space.name == SIAMESE), (*self.model_spaces, *self.spaces)[0])

    @property
    def other_spaces(self) -> tuple[Space, ...]:
        """The spaces that only the other generation has; none without another generation."""
        return () if self.other is None else tuple(space for space in self.other.spaces if space not in self.spaces)

    @property
    def written(self) -> tuple[Space, ...]:
        """The spaces of both generations in the order in which they are written. Deletes go in the reverse order.

        The last space of the current generation comes last of all. So whatever a kill interrupts, a row there means that the
        image is in every space of that generation. The last space of the other one comes after those that it alone has: an
        image that is whole in the current generation and has a row there is in every space of the other one too.
        """
        if self.other is None:
            return (*(space for space in self.spaces if space != self.last), self.last)
        last = (_last(self.other.spaces, self.other.written_last), self.last)
        first = tuple(space for space in (*self.other_spaces, *self.spaces) if space not in last)
        return (*first, *(space for space in last[:1] if space != last[1]), last[1])

    @property
    def physicals(self) -> frozenset[str]:
        """Every Milvus collection of this collection."""
        return frozenset(self.physical_of(space) for space in self.written)

    def as_other(self) -> Collection:
        """The other generation as a collection of its own, to read it and to embed for it. Raises `Internal` without one."""
        if self.other is None:
            raise Internal(f"collection {self.name!r} has only one generation")
        other = self.other
        return replace(self, spaces=other.spaces, generation=other.generation, written_last=other.written_last, other=None)

    def written_as(self, collection: Collection) -> bool:
        """Whether vectors that were embedded for `collection` can be written to this one."""
        return (self.uid, self.generation, self.spaces, self.other_spaces) == (
            collection.uid, collection.generation, collection.spaces, collection.other_spaces,
        )  # fmt: skip


def _last(spaces: tuple[Space, ...], name: str) -> Space:
    return next((space for space in spaces if space.name == name), spaces[-1])


def _with(record: R, given: Any, path: str) -> R:
    """`record` with the field of `given` at `path`."""
    name, _, deeper = path.partition(".")
    value = getattr(given, name)
    changes = {name: _with(getattr(record, name), value, deeper) if deeper else value}
    return cast(R, replace(cast(Any, record), **changes))
