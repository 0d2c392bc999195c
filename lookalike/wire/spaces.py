"""Spaces and vectors <-> protobuf. The other modules of `wire` and the embedder call it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from lookalike.errors import InvalidArgument
from lookalike.records.image import GivenVector
from lookalike.spaces import Metric, Space, SpaceSpec, Vector, check_distinct
from lookalike.v1 import image_pb2 as pb
from lookalike.wire.fields import members_of, message_of, record_of

_METRICS_BACK = members_of(Metric, pb.Metric.DESCRIPTOR)


def space_message(space: Space) -> pb.Space:
    return message_of(pb.Space, space)


def space_from(message: pb.Space) -> Space:
    """A metric that this version does not know has the name UNKNOWN, and such a kind is `UnknownKind`."""
    return record_of(Space, message)


def restored_spaces_from(messages: Iterable[pb.Space]) -> tuple[Space, ...]:
    """The spaces of a collection to restore. Raises `InvalidArgument` for an unknown metric, and for a kind that cannot be."""
    return tuple(_restored_from(message, f"restored_spaces[{index}]") for index, message in enumerate(messages))


def _restored_from(message: pb.Space, field: str) -> Space:
    if message.metric not in _METRICS_BACK:
        raise InvalidArgument(f"{field}.metric", f"{message.metric} is not METRIC_L2 or METRIC_COSINE")
    _check_kind(message, field)
    with _inside(field):
        return space_from(message)


def spec_message(spec: SpaceSpec) -> pb.SpaceSpec:
    return message_of(pb.SpaceSpec, spec)


def specs_from(messages: Iterable[pb.SpaceSpec], field: str = "spaces[{}]") -> tuple[SpaceSpec, ...]:
    """The spaces that a request asks for. `field` has `{}` for the place of each.

    Raises `InvalidArgument` for what no space can have, and for a name that comes twice.
    """
    found = tuple(_spec_from(message, field.format(index)) for index, message in enumerate(messages))
    check_distinct(f"{field}.name", [spec.name for spec in found])
    return found


def _spec_from(message: pb.SpaceSpec, field: str) -> SpaceSpec:
    _check_kind(message, field)
    with _inside(field):
        return record_of(SpaceSpec, message)


def _check_kind(message: pb.Space | pb.SpaceSpec, field: str) -> None:
    if message.WhichOneof("kind") is None:
        raise InvalidArgument(f"{field}.kind", "is missing; give histogram or model")


@contextmanager
def _inside(field: str) -> Iterator[None]:
    """Let errors of records say where in a request the record stands."""
    try:
        yield
    except InvalidArgument as error:
        raise InvalidArgument(f"{field}.{error.field}", error.problem) from None


def vector_messages(vectors: Mapping[str, Vector], spaces: Iterable[Space]) -> list[pb.SpaceVector]:
    """The members of `vectors`, by name of the space, whose space is in `spaces`."""
    return [
        pb.SpaceVector(space=space.name, values=vectors[space.name].tolist(), fingerprint=space.fingerprint)
        for space in spaces
        if space.name in vectors
    ]


def vectors_from(messages: Iterable[pb.SpaceVector]) -> dict[str, Vector]:
    """By space, float32 `[dimension]`."""
    return {message.space: np.array(message.values, np.float32) for message in messages}


def given_vector_message(given: GivenVector) -> pb.SpaceVector:
    return message_of(pb.SpaceVector, given)


def given_vector_from(message: pb.SpaceVector) -> GivenVector:
    return record_of(GivenVector, message)
