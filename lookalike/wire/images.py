"""Images, and the operations on them <-> protobuf. Fields in errors are those of the requests."""

from __future__ import annotations

from collections.abc import Iterable

from lookalike.records.image import Delete, Deletion, GivenImage, Image, ImageUpdate, UpdateResult
from lookalike.spaces import Space
from lookalike.v1 import image_pb2
from lookalike.v1 import search_service_pb2 as pb
from lookalike.wire.fields import message_of, record_of
from lookalike.wire.spaces import vector_messages, vectors_from
from lookalike.wire.values import metadata_from, metadata_message, moment_from, moment_message


def image_message(image: Image, spaces: Iterable[Space]) -> image_pb2.Image:
    """`image` with the vectors that it has in `spaces`. Images and neighbours are copied by hand: a search has a thousand of
    them, and `fields` takes a third longer."""
    return image_pb2.Image(
        id=image.id,
        uri=image.uri,
        sha256=image.sha256,
        revision=image.revision,
        index_time=None if image.index_time is None else moment_message(image.index_time),
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
        index_time=moment_from(message.index_time, "index_time") if message.HasField("index_time") else None,
        vectors=vectors_from(message.vectors),
    )


def given_image_message(image: GivenImage) -> image_pb2.Image:
    return message_of(image_pb2.Image, image)


def given_image_from(message: image_pb2.Image, field: str) -> GivenImage:
    """Raises `InvalidArgument` in `field` for a time that no calendar has."""
    return record_of(GivenImage, message, field)


def given_images_from(request: pb.ImportImagesRequest) -> list[GivenImage]:
    """Raises as `given_image_from`."""
    return [given_image_from(message, f"images[{index}]") for index, message in enumerate(request.images)]


def update_message(update: ImageUpdate) -> pb.ImageUpdate:
    return message_of(pb.ImageUpdate, update)


def update_from(message: pb.ImageUpdate) -> ImageUpdate:
    return record_of(ImageUpdate, message)


def updates_from(request: pb.UpdateImagesRequest) -> list[ImageUpdate]:
    return [update_from(message) for message in request.updates]


def update_result_message(result: UpdateResult) -> pb.UpdateImagesResponse:
    return message_of(pb.UpdateImagesResponse, result)


def update_result_from(message: pb.UpdateImagesResponse) -> UpdateResult:
    return record_of(UpdateResult, message)


def deletion_message(deletion: Deletion) -> pb.DeleteImagesResponse:
    return message_of(pb.DeleteImagesResponse, deletion)


def deletion_from(message: pb.DeleteImagesResponse) -> Deletion:
    return record_of(Deletion, message)


def delete_message(collection: str, asked: Delete) -> pb.DeleteImagesRequest:
    return message_of(pb.DeleteImagesRequest, asked, collection=collection)


def delete_from(request: pb.DeleteImagesRequest) -> Delete:
    return record_of(Delete, request)
