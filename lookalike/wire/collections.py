"""Collections <-> protobuf."""

from __future__ import annotations

from lookalike.records.collection import Collection
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.fields import message_of, record_of


def collection_message(collection: Collection) -> pb.Collection:
    return message_of(pb.Collection, collection)


def collection_from(message: pb.Collection) -> Collection:
    """Raises `Internal` for a metric, a kind or a state that this version does not know."""
    return record_of(Collection, message, uid="")
