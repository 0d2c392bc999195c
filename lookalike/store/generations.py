"""The steps by which a re-embedding changes a collection. Each is made by one `Catalogue.change`: one write to the catalogue.

    begun ─▶ FILLING ─ switched ─▶ PREVIOUS ◀─ rolled_back (changes places) ─▶ PREVIOUS
                └───── dropped ─────▶ none ◀───── dropped ─────────┘

Every function takes the collection before the step and returns the collection after it. Every step is idempotent.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace

from lookalike.errors import FailedPrecondition, InvalidArgument
from lookalike.records.collection import Collection, GenerationState, OtherGeneration
from lookalike.spaces import ModelSettings, Space, SpaceSpec

MIN_GRACE = datetime.timedelta(seconds=30)
"""Bounds the grace from below, so that no search reads a dropped generation: a reader may know the catalogue of 6 s ago, and a
call takes up to some 20 s."""


def specs_to_make(collection: Collection, space: str = "", model: str = "") -> list[SpaceSpec]:
    """What a re-embedding asks the embedder for: the specs of the spaces that it makes anew.

    These are the space called `space`, or all of them (""). `model` fills it instead of its own model; without `space` that is
    the only space of the collection that a model fills. Raises `NotFound` (space) and `InvalidArgument`.
    """
    if space:
        targets, filled = [collection.space(space, field="space")], [collection.space(space, field="space")]
    else:
        targets, filled = list(collection.spaces), list(collection.model_spaces)
    if not model:
        return [one.spec for one in targets]
    if len(filled) > 1:
        names = " or ".join(one.name for one in filled)
        raise InvalidArgument("space", f"is missing; name the space that model {model!r} is to fill: {names}")
    if not filled or not isinstance(filled[0].kind, ModelSettings):
        where = f"space {space!r} is a histogram" if space else f"collection {collection.name!r} has histograms only"
        raise InvalidArgument("model", f"is given, but {where}, which no model fills")
    return [SpaceSpec(one.name, ModelSettings(model)) if one in filled else one.spec for one in targets]


def made_anew(collection: Collection, described: Sequence[Space]) -> tuple[Space, ...]:
    """The spaces of `collection`, with those of `described` in place of their namesakes."""
    new = {space.name: space for space in described}
    return tuple(new.get(space.name, space) for space in collection.spaces)


def check_can_begin(collection: Collection, spaces: tuple[Space, ...]) -> None:
    """Raise `FailedPrecondition` unless `collection` may be re-embedded in `spaces`."""
    name, other = collection.name, collection.other
    if other is not None and other.state is GenerationState.FILLING:
        problem = f"collection {name!r} is being re-embedded by job {other.job_id!r}; wait for it or cancel it"
        raise _refused(collection, "REEMBED_UNDER_WAY", problem, job_id=other.job_id)
    if other is not None:
        problem = (
            f"collection {name!r} still keeps generation {other.generation}; drop it first, or wait until its grace is over"
        )
        raise _refused(collection, "PREVIOUS_GENERATION_KEPT", problem, generation=str(other.generation))
    if [space.name for space in spaces] != [space.name for space in collection.spaces]:
        raise _refused(collection, "SPACES_DIFFER", f"collection {name!r} has other spaces than those asked for")
    changed = _changed(collection, spaces)
    if not changed:
        problem = f"collection {name!r} already has the version asked for, in every space"
        raise _refused(collection, "REEMBED_NOT_NEEDED", problem)
    for space in changed:
        if collection.physical_of(space) in collection.physicals:
            problem = (
                f"the new fingerprint of space {space.name!r} begins like the one that collection {name!r} has; ingest into a "
                "new collection"
            )
            raise _refused(collection, "FINGERPRINTS_COLLIDE", problem)


def begun(collection: Collection, job_id: str, spaces: tuple[Space, ...]) -> Collection:
    """`collection` with another generation, in `spaces`, that job `job_id` fills. Spaces that keep their fingerprint are
    shared. Raises as `check_can_begin`."""
    if is_filled_by(collection, job_id):
        return collection
    check_can_begin(collection, spaces)
    changed = {space.name: space for space in _changed(collection, spaces)}
    last = collection.last.name if collection.last.name in changed else list(changed)[-1]
    spaces = tuple(changed.get(space.name, space) for space in collection.spaces)
    other = OtherGeneration(collection.generation + 1, GenerationState.FILLING, spaces, job_id, written_last=last)
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


def _changed(collection: Collection, spaces: tuple[Space, ...]) -> list[Space]:
    """Those of `spaces` that have another fingerprint than their namesake in the collection. One version of a model may have
    two names, so names of models say nothing."""
    fingerprints = {space.name: space.fingerprint for space in collection.spaces}
    return [space for space in spaces if fingerprints.get(space.name) != space.fingerprint]


def _previous(collection: Collection) -> OtherGeneration:
    other = collection.other
    if other is None or other.state is not GenerationState.PREVIOUS:
        problem = f"collection {collection.name!r} keeps no previous generation"
        raise _refused(collection, "NO_PREVIOUS_GENERATION", problem)
    return other


def _changed_places(before: Collection, job_id: str, drop_time: datetime.datetime) -> Collection:
    kept = OtherGeneration(
        before.generation, GenerationState.PREVIOUS, before.spaces, job_id, drop_time, written_last=before.written_last
    )
    return replace(before.as_other(), other=kept)


def _refused(collection: Collection, reason: str, problem: str, **facts: str) -> FailedPrecondition:
    return FailedPrecondition(problem, reason=reason, field="name", metadata={"name": collection.name, **facts})
