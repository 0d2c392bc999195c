"""Protobuf <-> ours, where services and the client say the same: spaces, and metadata as plain values.

Called by the embedder's service, `gateway.messages.search` and `lookalike.client`; each has the rest of its messages to itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lookalike.errors import Internal
from lookalike.spaces import Metric, Space
from lookalike.v1 import image_pb2

_METRICS = {Metric.L2: image_pb2.METRIC_L2, Metric.COSINE: image_pb2.METRIC_COSINE}
_METRICS_BACK = {number: metric for metric, number in _METRICS.items()}


def space_message(space: Space) -> image_pb2.Space:
    return image_pb2.Space(
        name=space.name, dimension=space.dimension, metric=_METRICS[space.metric], fingerprint=space.fingerprint
    )


def space_from(message: image_pb2.Space) -> Space:
    """Raises `Internal` for a metric that this version does not know: distances would be read wrongly."""
    if message.metric not in _METRICS_BACK:
        raise Internal(f"space {message.name!r} has metric {message.metric}, which this version of lookalike does not know")
    return Space(message.name, message.dimension, _METRICS_BACK[message.metric], message.fingerprint)


def plain(value: object) -> object:
    """`value` with every whole float as int, as it was before a `Struct` held it, and keys in order; at any depth."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in sorted(value.items())}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return value
