"""Images, and the operations on them <-> protobuf. Fields in errors are those of the requests."""

from __future__ import annotations

from collections.abc import Iterable

from lookalike.records.image import Deletion, GivenImage, Image, ImageUpdate, UpdateResult
from lookalike.spaces import Space
from lookalike.v1 import image_pb2, ingest_service_pb2
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.spaces import given_vector_from, given_vector_message, vector_messages, vectors_from
from lookalike.wire.values import metadata_from, metadata_message, moment_from, moment_message


def image_message(image: Image, spaces: Iterable[Space]) -> image_pb2.Image:
    """`image` with the vectors that it has in `spaces`."""
    return image_pb2.Image(
        id=image.id,
        uri=image.uri,
        sha256=image.sha256,
        revision=image.revision,
        indexed_at=moment_message(image.indexed_at),
        metadata=metadata_message(image.metadata),
        vectors=vector_messages(image.vectors, spaces),
    )


def image_from(message: image_pb2.Image) -> Image:
    return Image(
        id=message.id,
        uri=message.uri,
        metadata=metadata_from(message.metadata),
        sha256=message.sha256,
        revision=message.revision,
        indexed_at=moment_from(message.indexed_at, "indexed_at"),
        vectors=vectors_from(message.vectors),
    )


def given_image_message(image: GivenImage) -> image_pb2.Image:
    return image_pb2.Image(
        id=image.id,
        uri=image.uri,
        sha256=image.sha256,
        indexed_at=None if image.indexed_at is None else moment_message(image.indexed_at),
        metadata=metadata_message(image.metadata),
        vectors=[given_vector_message(vector) for vector in image.vectors],
    )


def given_image_from(message: image_pb2.Image, field: str) -> GivenImage:
    """Raises `InvalidArgument` in `field` for a time that no calendar has."""
    return GivenImage(
        id=message.id,
        uri=message.uri,
        metadata=metadata_from(message.metadata),
        sha256=message.sha256,
        indexed_at=moment_from(message.indexed_at, f"{field}.indexed_at") if message.HasField("indexed_at") else None,
        vectors=tuple(given_vector_from(vector) for vector in message.vectors),
    )


def given_images_from(request: pb.ImportImagesRequest) -> list[GivenImage]:
    """Raises as `given_image_from`."""
    return [given_image_from(message, f"images[{index}]") for index, message in enumerate(request.images)]


def update_message(update: ImageUpdate) -> pb.ImageUpdate:
    return pb.ImageUpdate(id=update.id, metadata=metadata_message(update.metadata), merge=update.merge)


def update_from(message: pb.ImageUpdate) -> ImageUpdate:
    return ImageUpdate(message.id, metadata_from(message.metadata), message.merge)


def updates_from(request: pb.UpdateImagesRequest) -> list[ImageUpdate]:
    return [update_from(message) for message in request.updates]


def update_result_message(result: UpdateResult) -> pb.UpdateImagesResponse:
    return pb.UpdateImagesResponse(updated=result.updated, missing_ids=result.missing_ids, revision=result.revision)


def update_result_from(message: pb.UpdateImagesResponse) -> UpdateResult:
    return UpdateResult(message.updated, tuple(message.missing_ids), message.revision)


def deletion_message(deletion: Deletion) -> pb.DeleteImagesResponse:
    return pb.DeleteImagesResponse(deleted=deletion.deleted, revision=deletion.revision)


def undo_message(deletion: Deletion) -> ingest_service_pb2.UndoIngestJobResponse:
    return ingest_service_pb2.UndoIngestJobResponse(deleted=deletion.deleted, revision=deletion.revision)


def deletion_from(message: pb.DeleteImagesResponse | ingest_service_pb2.UndoIngestJobResponse) -> Deletion:
    return Deletion(message.deleted, message.revision)
