"""Collections <-> protobuf."""

from __future__ import annotations

from lookalike.errors import Internal
from lookalike.records.collection import Collection, GenerationState, OtherGeneration
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.spaces import histogram_from, histogram_message, space_from, space_message
from lookalike.wire.values import moment_from, moment_message

_STATES = {state: pb.OtherGenerationState.Value(f"OTHER_GENERATION_STATE_{state.name}") for state in GenerationState}
_STATES_BACK = {number: state for state, number in _STATES.items()}


def collection_message(collection: Collection) -> pb.Collection:
    return pb.Collection(
        name=collection.name,
        description=collection.description,
        model=collection.model,
        histogram=histogram_message(collection.histogram),
        spaces=[space_message(space) for space in collection.spaces],
        generation=collection.generation,
        image_count=collection.image_count,
        create_time=moment_message(collection.created_at),
        other=None if collection.other is None else _other_message(collection.other),
        exact=collection.exact,
    )


def collection_from(message: pb.Collection) -> Collection:
    """Raises `Internal` for a metric or a state that this version does not know."""
    return Collection(
        name=message.name,
        uid="",
        description=message.description,
        model=message.model,
        histogram=histogram_from(message.histogram),
        spaces=tuple(space_from(space) for space in message.spaces),
        generation=message.generation,
        image_count=message.image_count,
        created_at=moment_from(message.create_time, "create_time"),
        other=_other_from(message.other) if message.HasField("other") else None,
        exact=message.exact,
    )


def _other_message(other: OtherGeneration) -> pb.OtherGeneration:
    return pb.OtherGeneration(
        generation=other.generation,
        state=_STATES[other.state],
        model=other.model,
        spaces=[space_message(space) for space in other.spaces],
        job_id=other.job_id,
        drop_time=None if other.drop_at is None else moment_message(other.drop_at),
    )


def _other_from(message: pb.OtherGeneration) -> OtherGeneration:
    if message.state not in _STATES_BACK:
        raise Internal(f"a generation is in state {message.state}, which this version of lookalike does not know")
    return OtherGeneration(
        generation=message.generation,
        state=_STATES_BACK[message.state],
        model=message.model,
        spaces=tuple(space_from(space) for space in message.spaces),
        job_id=message.job_id,
        drop_at=moment_from(message.drop_time, "drop_time") if message.HasField("drop_time") else None,
    )
