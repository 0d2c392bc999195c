"""Collections <-> protobuf."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask

from lookalike.records.collection import Collection, CollectionDefaults, CollectionUpdate
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.fields import message_of, record_of
from lookalike.wire.masks import masked_paths


def collection_update_from(request: pb.UpdateCollectionRequest) -> CollectionUpdate:
    """Raises `InvalidArgument` (`update_mask`) for what cannot be changed."""
    paths = masked_paths(request.collection, request.update_mask)
    return record_of(CollectionUpdate, request.collection, "collection", paths=paths)


def collection_update_message(asked: CollectionUpdate) -> pb.UpdateCollectionRequest:
    collection = message_of(pb.Collection, asked)
    return pb.UpdateCollectionRequest(collection=collection, update_mask=FieldMask(paths=asked.paths))


def defaults_from(message: pb.CollectionDefaults) -> CollectionDefaults:
    return record_of(CollectionDefaults, message)


def defaults_message(defaults: CollectionDefaults) -> pb.CollectionDefaults:
    return message_of(pb.CollectionDefaults, defaults)


def collection_message(collection: Collection) -> pb.Collection:
    return message_of(pb.Collection, collection)


def collection_from(message: pb.Collection) -> Collection:
    """Metrics, states and kinds that this version does not know: see `record_of`."""
    return record_of(Collection, message, uid="")
