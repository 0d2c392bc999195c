"""What the registry knows of one model: its versions, its history, and how that stands in a file.

Owns the format of `{name}/model-*.json`. `embedder.registry.registry` reads and writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from embedder.models.bundle import DataSummary
from embedder.registry.comparison import Comparison
from lookalike.errors import InvalidArgument

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model. `live`: served by every embedder that watches; `retired`: by none. `size_bytes` is that of its
    files; `deleted` says that they are gone. `metrics` and `measured_on` are those of its bundle."""

    fingerprint: str
    state: Literal["live", "retired"]
    added_at: datetime
    retired_at: datetime | None = None
    deleted: bool = False
    size_bytes: int = 0
    metrics: Mapping[str, float] | None = None
    measured_on: DataSummary | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What was done: version `fingerprint` promoted (`previous` is what the name meant until then, "" for nothing) or retired;
    when, by whom, why, and whether against what the comparison or the gateway said (`forced`)."""

    action: Literal["promote", "retire"]
    fingerprint: str
    at: datetime
    by: str
    previous: str = ""
    reason: str = ""
    forced: bool = False
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """How things stand with model `name` since its change number `revision` (from 1). `current` is the fingerprint that the
    name means; it is always a live one of `versions` (by fingerprint, in the order in which they were added)."""

    name: str
    revision: int
    current: str
    versions: Mapping[str, Version]
    change: Change

    @property
    def live(self) -> tuple[str, ...]:
        """Fingerprints in service, the current one first."""
        others = (one.fingerprint for one in self.versions.values() if one.state == "live" and one.fingerprint != self.current)
        return (self.current, *others)


def encoded(record: Record) -> bytes:
    """The file that says `record`, for people and programs."""
    return (json.dumps({"format": FORMAT, **asdict(record)}, indent=2, default=_plain) + "\n").encode()


def decoded(content: bytes, *, where: str) -> Record:
    """The record in a file; `where` names it in errors. Raises `InvalidArgument` for one that cannot be read."""
    try:
        fields = json.loads(content)
        if fields["format"] != FORMAT:
            raise InvalidArgument("registry", f"{where} is of format {fields['format']}; this version reads {FORMAT}")
        record = Record(
            name=fields["name"],
            revision=fields["revision"],
            current=fields["current"],
            versions={fingerprint: _version(version) for fingerprint, version in fields["versions"].items()},
            change=_change(fields["change"]),
        )
        current = record.versions[record.current]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgument("registry", f"{where} cannot be read: {type(error).__name__}: {error}") from error
    if current.state != "live":
        raise InvalidArgument("registry", f"{where} names a retired version as the current one")
    return record


def _version(fields: Mapping[str, Any]) -> Version:
    measured_on = fields["measured_on"]
    times = {name: datetime.fromisoformat(fields[name]) if fields[name] else None for name in ("added_at", "retired_at")}
    if fields["state"] not in ("live", "retired"):
        raise ValueError(f"state {fields['state']!r} is neither 'live' nor 'retired'")
    return Version(**{**fields, **times, "measured_on": DataSummary(**measured_on) if measured_on else None})


def _change(fields: Mapping[str, Any]) -> Change:
    comparison = fields["comparison"]
    at = datetime.fromisoformat(fields["at"])
    return Change(**{**fields, "at": at, "comparison": Comparison(**comparison) if comparison else None})


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not belong in a record")
