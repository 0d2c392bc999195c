"""A collection as the entry of its row in the catalogue. `catalogue` calls it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lookalike.errors import FailedPrecondition, Internal, InvalidArgument
from lookalike.records.collection import Collection, GenerationState, OtherGeneration
from lookalike.stored_spaces import defaults_from_json, from_json, to_json, with_kinds

FORMAT = 3
"""The format that is written. Programs that know only earlier ones refuse the entry, since they know two spaces only."""
_TWO_SPACES = (1, 2)
"""Formats of 0.1, which are read: with one generation, and with two. The settings of the space `histogram` and the model of the
other space stand beside the spaces. An entry is written in today's format when its collection changes."""


def to_entry(collection: Collection) -> dict[str, Any]:
    """The JSON that the catalogue keeps."""
    other = collection.other
    return {
        "format": FORMAT,
        "description": collection.description,
        "spaces": [to_json(space) for space in collection.spaces],
        "written_last": collection.written_last,
        "generation": collection.generation,
        "created_at": collection.create_time.isoformat(),
        "other": None if other is None else _to_other(other),
        "defaults": asdict(collection.defaults),
    }


def from_entry(name: str, uid: str, entry: Mapping[str, Any]) -> Collection:
    """A collection from its JSON. Raises `FailedPrecondition` COLLECTION_FORMAT_UNKNOWN for an entry of a newer version, and
    `Internal` for one that cannot be read."""
    written = entry.get("format")
    if type(written) is int and written > FORMAT:
        raise FailedPrecondition(
            f"collection {name!r} was made by a newer version of lookalike (format {written}; this version reads 1 to "
            f"{FORMAT}); use that version again",
            reason="COLLECTION_FORMAT_UNKNOWN",
        )
    if written not in (FORMAT, *_TWO_SPACES):
        raise Internal(f"the catalogue's entry {name!r} has format {str(written)[:20]}, which no version of lookalike writes")
    try:
        entry = _as_of_today(entry) if entry["format"] in _TWO_SPACES else entry
        return Collection(
            name=name,
            uid=uid,
            description=entry["description"],
            spaces=tuple(from_json(space) for space in entry["spaces"]),
            generation=int(entry["generation"]),
            create_time=datetime.datetime.fromisoformat(entry["created_at"]),
            other=None if entry["other"] is None else _from_other(entry["other"]),
            written_last=entry["written_last"],
            defaults=defaults_from_json(entry.get("defaults", {})),
        )
    except (KeyError, TypeError, ValueError, InvalidArgument) as error:
        raise Internal(f"the catalogue's entry {name!r} cannot be read") from error


def _to_other(other: OtherGeneration) -> dict[str, Any]:
    return {
        "generation": other.generation,
        "spaces": [to_json(space) for space in other.spaces],
        "written_last": other.written_last,
        "state": other.state.value,
        "job_id": other.job_id,
        "drop_at": None if other.drop_time is None else other.drop_time.isoformat(),
    }


def _from_other(entry: Mapping[str, Any]) -> OtherGeneration:
    return OtherGeneration(
        generation=int(entry["generation"]),
        spaces=tuple(from_json(space) for space in entry["spaces"]),
        state=GenerationState(entry["state"]),
        job_id=entry["job_id"],
        drop_time=None if entry["drop_at"] is None else datetime.datetime.fromisoformat(entry["drop_at"]),
        written_last=entry["written_last"],
    )


def _as_of_today(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `_TWO_SPACES` in today's format."""
    other, settings = entry.get("other"), entry["histogram"]
    return {
        **entry,
        "spaces": with_kinds(entry["spaces"], settings, entry["model"]),
        "written_last": "",
        "other": other and {**other, "spaces": with_kinds(other["spaces"], settings, other["model"]), "written_last": ""},
    }
