"""What a re-embedding makes of a collection, step by step: each is for one `Catalogue.change`, so one write to the catalogue.

    begun ─▶ FILLING ─ switched ─▶ PREVIOUS ◀─ rolled_back (changes places) ─▶ PREVIOUS
                └───── dropped ─────▶ none ◀───── dropped ─────────┘

Every function takes the collection as it is now and gives it as it is to be. Doing one again gives the same as doing it once.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

from lookalike.errors import FailedPrecondition
from lookalike.records.collection import Collection, GenerationState, OtherGeneration
from lookalike.spaces import Space

MIN_GRACE_S = 30.0
"""No search reads what is dropped: a reader knows the catalogue as it was some 6 s ago at most, and a call takes 20 s or so."""


def check_can_begin(collection: Collection, model: str, spaces: tuple[Space, ...]) -> None:
    """Raise `FailedPrecondition` unless `collection` may be re-embedded in `spaces`, which `model` gives now."""
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
        problem = f"collection {name!r} has this version of model {model!r} already, in every space"
        raise _refused(collection, "REEMBED_NOT_NEEDED", problem, model=model)
    if [space.name for space in spaces] != [space.name for space in collection.spaces]:
        raise _refused(collection, "SPACES_DIFFER", f"model {model!r} gives other spaces than collection {name!r} has")
    if any(space not in collection.spaces and collection.physical_of(space) in collection.physicals for space in spaces):
        problem = f"a fingerprint of model {model!r} begins like one that collection {name!r} has; ingest into a new collection"
        raise _refused(collection, "FINGERPRINTS_COLLIDE", problem)


def begun(collection: Collection, job_id: str, model: str, spaces: tuple[Space, ...]) -> Collection:
    """With another generation, of `spaces` of `model`, that job `job_id` fills. Raises as `check_can_begin`."""
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


def switched(collection: Collection, job_id: str, drop_at: datetime.datetime) -> Collection:
    """Searched in the generation that job `job_id` has filled, with the one before kept until `drop_at`."""
    if is_switched_by(collection, job_id):
        return collection
    if not is_filled_by(collection, job_id):
        problem = f"collection {collection.name!r} has no generation that job {job_id!r} fills"
        raise _refused(collection, "REEMBED_GONE", problem, job_id=job_id)
    return _changed_places(collection, job_id, drop_at)


def rolled_back(collection: Collection, now: datetime.datetime) -> Collection:
    """Searched in the generation before again; the one that was left is kept for the rest of the grace, at least 30 s more."""
    previous = _previous(collection)
    least = now + datetime.timedelta(seconds=MIN_GRACE_S)
    return _changed_places(collection, previous.job_id, max(previous.drop_at or least, least))


def without_previous(collection: Collection) -> Collection:
    """Without the generation before. Raises `FailedPrecondition` where none is kept."""
    _previous(collection)
    return replace(collection, other=None)


def without_filled_by(collection: Collection, job_id: str) -> Collection:
    """Without the generation that job `job_id` was filling, where there is one."""
    return replace(collection, other=None) if is_filled_by(collection, job_id) else collection


def without_overdue(collection: Collection, now: datetime.datetime) -> Collection:
    """Without the generation before, where its grace is over."""
    other = collection.other
    overdue = other is not None and other.drop_at is not None and other.drop_at <= now
    return replace(collection, other=None) if overdue else collection


def _previous(collection: Collection) -> OtherGeneration:
    other = collection.other
    if other is None or other.state is not GenerationState.PREVIOUS:
        problem = f"collection {collection.name!r} keeps no generation before its current one"
        raise _refused(collection, "NO_PREVIOUS_GENERATION", problem)
    return other


def _changed_places(before: Collection, job_id: str, drop_at: datetime.datetime) -> Collection:
    kept = OtherGeneration(before.generation, GenerationState.PREVIOUS, before.model, before.spaces, job_id, drop_at)
    return replace(before.as_other(), other=kept)


def _refused(collection: Collection, reason: str, problem: str, **facts: str) -> FailedPrecondition:
    return FailedPrecondition(problem, reason=reason, field="name", metadata={"name": collection.name, **facts})
