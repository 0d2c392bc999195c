"""Spaces, vectors and histogram settings <-> protobuf. The other modules of `wire` and the embedder call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from lookalike.errors import InvalidArgument
from lookalike.records.image import GivenVector
from lookalike.spaces import HistogramSettings, Metric, Space, Vector
from lookalike.v1 import image_pb2 as pb
from lookalike.wire.fields import members_of, message_of, record_of

_METRICS_BACK = members_of(Metric, pb.Metric.DESCRIPTOR)


def space_message(space: Space) -> pb.Space:
    return message_of(pb.Space, space)


def space_from(message: pb.Space) -> Space:
    """Raises `Internal` for a metric that this version does not know: distances would be read wrongly."""
    return record_of(Space, message)


def asked_spaces_from(messages: Iterable[pb.Space]) -> tuple[Space, ...]:
    """The spaces of a request. Raises `InvalidArgument` for an unknown metric."""
    messages = list(messages)
    for index, message in enumerate(messages):
        if message.metric not in _METRICS_BACK:
            raise InvalidArgument(f"spaces[{index}].metric", f"{message.metric} is not METRIC_L2 or METRIC_COSINE")
    return tuple(space_from(message) for message in messages)


def histogram_message(settings: HistogramSettings) -> pb.HistogramSettings:
    return message_of(pb.HistogramSettings, settings)


def histogram_from(message: pb.HistogramSettings) -> HistogramSettings:
    """Zeros mean the defaults. Raises `InvalidArgument` for values out of range."""
    default = HistogramSettings()
    return HistogramSettings(message.bins or default.bins, message.grid or default.grid, message.color)


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
