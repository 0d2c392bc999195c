"""What a collection is, as the catalogue has it, and its entry there. Made and read by `catalogue`, used by all of the store.

A collection is searched in its *current* generation. While it is re-embedded, and for a time of grace after that, it has an
*other* one beside it: every write goes to both, no search to the other. A space whose fingerprint is the same in both is one
physical collection that they share.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lookalike.errors import Internal, InvalidArgument, NotFound
from lookalike.names import physical_name
from lookalike.spaces import HistogramSettings, Metric, Space

_ONE_GENERATION, _TWO_GENERATIONS = 1, 2
"""Formats of an entry. Programs that know the first only refuse the second: they would write to one generation."""


class GenerationState(enum.Enum):
    """Why a collection has a second generation."""

    FILLING = "filling"
    """A job fills it; it is not searched yet."""
    PREVIOUS = "previous"
    """It was searched before the last switch, and can be gone back to until it is dropped."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation that is written and not searched. `job_id` is the job that fills it, or that filled the current one;
    `drop_at` knows its time zone, and is None while it is being filled."""

    number: int
    model: str
    spaces: tuple[Space, ...]
    state: GenerationState
    job_id: str
    drop_at: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of images, as the catalogue has it. `uid` is random hex, new at each creation; `generation` counts from 1.

    `model` and `spaces` are those of the current generation.
    """

    name: str
    uid: str
    description: str
    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
    generation: int
    created_at: datetime.datetime
    other: Generation | None = None
    exact: bool = field(default=False, compare=False)
    """Whether a search compares the query with every image: a matter of the store, not of the row."""

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
        return replace(self, model=other.model, spaces=other.spaces, generation=other.number, other=None)

    def written_as(self, collection: Collection) -> bool:
        """Whether what was embedded for `collection` can be written to this one as it is."""
        return (self.uid, self.generation, self.spaces, self.other_spaces) == (
            collection.uid, collection.generation, collection.spaces, collection.other_spaces,
        )  # fmt: skip


def to_entry(collection: Collection) -> dict[str, Any]:
    """The JSON that the catalogue keeps."""
    histogram, other = collection.histogram, collection.other
    entry = {
        "format": _ONE_GENERATION if other is None else _TWO_GENERATIONS,
        "description": collection.description,
        "model": collection.model,
        "histogram": {"bins": histogram.bins, "grid": histogram.grid, "color": histogram.color},
        "spaces": _to_spaces(collection.spaces),
        "generation": collection.generation,
        "created_at": collection.created_at.isoformat(),
    }
    return entry if other is None else {**entry, "other": _to_other(other)}


def from_entry(name: str, uid: str, entry: Mapping[str, Any]) -> Collection:
    """A collection from its JSON. Raises `Internal` for what this version did not write."""
    if entry.get("format") not in (_ONE_GENERATION, _TWO_GENERATIONS):
        raise Internal(f"the catalogue's entry {name!r} was written by another version of lookalike")
    try:
        other = entry.get("other")
        return Collection(
            name=name,
            uid=uid,
            description=entry["description"],
            model=entry["model"],
            histogram=HistogramSettings(**entry["histogram"]),
            spaces=_from_spaces(entry["spaces"]),
            generation=int(entry["generation"]),
            created_at=datetime.datetime.fromisoformat(entry["created_at"]),
            other=None if other is None else _from_other(other),
        )
    except (KeyError, TypeError, ValueError, InvalidArgument) as error:
        raise Internal(f"the catalogue's entry {name!r} cannot be read") from error


def _to_other(other: Generation) -> dict[str, Any]:
    return {
        "generation": other.number,
        "model": other.model,
        "spaces": _to_spaces(other.spaces),
        "state": other.state.value,
        "job_id": other.job_id,
        "drop_at": None if other.drop_at is None else other.drop_at.isoformat(),
    }


def _from_other(entry: Mapping[str, Any]) -> Generation:
    return Generation(
        number=int(entry["generation"]),
        model=entry["model"],
        spaces=_from_spaces(entry["spaces"]),
        state=GenerationState(entry["state"]),
        job_id=entry["job_id"],
        drop_at=None if entry["drop_at"] is None else datetime.datetime.fromisoformat(entry["drop_at"]),
    )


def _to_spaces(spaces: Iterable[Space]) -> list[dict[str, Any]]:
    return [{"name": s.name, "dimension": s.dimension, "metric": s.metric.value, "fingerprint": s.fingerprint} for s in spaces]


def _from_spaces(entry: Iterable[Mapping[str, Any]]) -> tuple[Space, ...]:
    return tuple(Space(s["name"], int(s["dimension"]), Metric(s["metric"]), s["fingerprint"]) for s in entry)
