"""The steps by which a re-embedding changes a collection. Each is made by one `Catalogue.change`: one write to the catalogue.

    begun ─▶ FILLING ─ switched ─▶ PREVIOUS ◀─ rolled_back (changes places) ─▶ PREVIOUS
                └───── dropped ─────▶ none ◀───── dropped ─────────┘

Every function takes the collection before the step and returns the collection after it. Every step is idempotent.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from lookalike.errors import FailedPrecondition
from lookalike.records.collection import Collection, GenerationState, OtherGeneration
from lookalike.spaces import Space

MIN_GRACE = datetime.timedelta(seconds=30)
"""Bounds the grace from below, so that no search reads a dropped generation: a reader may know the catalogue of 6 s ago, and a
call takes up to some 20 s."""


def check_can_begin(collection: Collection, model: str, spaces: tuple[Space, ...]) -> None:
    """Raise `FailedPrecondition` unless `collection` may be re-embedded in `spaces`, those of `model` now."""
    name, other = collection.name, collection.other
    if other is not None and other.state is GenerationState.FILLING:
        problem = f"collection {name!r} is being re-embedded by job {other.job_id!r}; wait for it or cancel it"
        raise _refused(collection, "REEMBED_UNDER_WAY", problem, job_id=other.job_id)
    if other is not None:
        problem = (
            f"collection {name!r} still keeps generation {other.generation}; drop it first, or wait until its grace is over"
        )
        raise _refused(collection, "PREVIOUS_GENERATION_KEPT", problem, generation=str(other.generation))
    if spaces == collection.spaces:
        problem = f"collection {name!r} already has this version of model {model!r}, in every space"
        raise _refused(collection, "REEMBED_NOT_NEEDED", problem, model=model)
    if [space.name for space in spaces] != [space.name for space in collection.spaces]:
        raise _refused(collection, "SPACES_DIFFER", f"model {model!r} gives other spaces than collection {name!r} has")
    if any(space not in collection.spaces and collection.physical_of(space) in collection.physicals for space in spaces):
        problem = f"a fingerprint of model {model!r} begins like one that collection {name!r} has; ingest into a new collection"
        raise _refused(collection, "FINGERPRINTS_COLLIDE", problem)


def begun(collection: Collection, job_id: str, model: str, spaces: tuple[Space, ...]) -> Collection:
    """`collection` with another generation, in `spaces` of `model`, that job `job_id` fills. Raises as `check_can_begin`."""
    if is_filled_by(collection, job_id):
        return collection
    check_can_begin(collection, model, spaces)
    other = OtherGeneration(collection.generation + 1, GenerationState.FILLING, model, spaces, job_id)
    return replace(collection, other=other)


def is_filled_by(collection: Collection, job_id: str) -> bool:
    """Whether job `job_id` is filling the other generation."""
    other = collection.other
    return other is not None and other.state is GenerationState.FILLING and other.job_id == job_id


def is_switched_by(collection: Collection, job_id: str) -> bool:
    """Whether job `job_id` has filled one of the two generations and switched to it."""
    other = collection.other
    return other is not None and other.state is GenerationState.PREVIOUS and other.job_id == job_id


def switched(collection: Collection, job_id: str, drop_time: datetime.datetime) -> Collection:
    """`collection` with the generation that job `job_id` has filled as current; the previous is kept until `drop_time`."""
    if is_switched_by(collection, job_id):
        return collection
    if not is_filled_by(collection, job_id):
        problem = f"collection {collection.name!r} has no generation that job {job_id!r} fills"
        raise _refused(collection, "REEMBED_GONE", problem, job_id=job_id)
    return _changed_places(collection, job_id, drop_time)


def rolled_back(collection: Collection, now: datetime.datetime) -> Collection:
    """`collection` with its previous generation as the current one; the other is kept for the rest of the grace, and 30 s at
    least."""
    previous = _previous(collection)
    least = now + MIN_GRACE
    return _changed_places(collection, previous.job_id, max(previous.drop_time or least, least))


def without_previous(collection: Collection) -> Collection:
    """`collection` without its previous generation. Raises `FailedPrecondition` where none is kept."""
    _previous(collection)
    return replace(collection, other=None)


def without_filled_by(collection: Collection, job_id: str) -> Collection:
    """`collection` without the generation that job `job_id` was filling, where it has one."""
    return replace(collection, other=None) if is_filled_by(collection, job_id) else collection


def without_overdue(collection: Collection, now: datetime.datetime) -> Collection:
    """`collection` without its previous generation, where the grace is over."""
    other = collection.other
    overdue = other is not None and other.drop_time is not None and other.drop_time <= now
    return replace(collection, other=None) if overdue else collection


def _previous(collection: Collection) -> OtherGeneration:
    other = collection.other
    if other is None or other.state is not GenerationState.PREVIOUS:
        problem = f"collection {collection.name!r} keeps no previous generation"
        raise _refused(collection, "NO_PREVIOUS_GENERATION", problem)
    return other


def _changed_places(before: Collection, job_id: str, drop_time: datetime.datetime) -> Collection:
    kept = OtherGeneration(before.generation, GenerationState.PREVIOUS, before.model, before.spaces, job_id, drop_time)
    return replace(before.as_other(), other=kept)


def _refused(collection: Collection, reason: str, problem: str, **facts: str) -> FailedPrecondition:
    return FailedPrecondition(problem, reason=reason, field="name", metadata={"name": collection.name, **facts})
