"""A collection as the entry of its row in the catalogue. `catalogue` calls it."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from lookalike.errors import Internal, InvalidArgument
from lookalike.records.collection import Collection, GenerationState, OtherGeneration
from lookalike.spaces import HistogramSettings, Metric, Space

_ONE_GENERATION, _TWO_GENERATIONS = 1, 2
"""Formats of an entry. Programs that know only the first refuse the second, since they would write to one generation only."""


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
        "created_at": collection.create_time.isoformat(),
    }
    return entry if other is None else {**entry, "other": _to_other(other)}


def from_entry(name: str, uid: str, entry: Mapping[str, Any]) -> Collection:
    """A collection from its JSON. Raises `Internal` for an entry in another format."""
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
            create_time=datetime.datetime.fromisoformat(entry["created_at"]),
            other=None if other is None else _from_other(other),
        )
    except (KeyError, TypeError, ValueError, InvalidArgument) as error:
        raise Internal(f"the catalogue's entry {name!r} cannot be read") from error


def _to_other(other: OtherGeneration) -> dict[str, Any]:
    return {
        "generation": other.generation,
        "model": other.model,
        "spaces": _to_spaces(other.spaces),
        "state": other.state.value,
        "job_id": other.job_id,
        "drop_at": None if other.drop_time is None else other.drop_time.isoformat(),
    }


def _from_other(entry: Mapping[str, Any]) -> OtherGeneration:
    return OtherGeneration(
        generation=int(entry["generation"]),
        model=entry["model"],
        spaces=_from_spaces(entry["spaces"]),
        state=GenerationState(entry["state"]),
        job_id=entry["job_id"],
        drop_time=None if entry["drop_at"] is None else datetime.datetime.fromisoformat(entry["drop_at"]),
    )


def _to_spaces(spaces: Iterable[Space]) -> list[dict[str, Any]]:
    return [{"name": s.name, "dimension": s.dimension, "metric": s.metric.value, "fingerprint": s.fingerprint} for s in spaces]


def _from_spaces(entry: Iterable[Mapping[str, Any]]) -> tuple[Space, ...]:
    return tuple(Space(s["name"], int(s["dimension"]), Metric(s["metric"]), s["fingerprint"]) for s in entry)
