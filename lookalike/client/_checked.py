"""Checks of the records that the client's methods take; the results are records that `lookalike.wire` can write.

The rules are those of `_arguments`, which checks single values. Only `lookalike.client` calls this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

from lookalike.client import _arguments
from lookalike.errors import BadImage, InvalidArgument, LookalikeError
from lookalike.items import check_metadata
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.records.image import GivenImage, GivenVector, Image, ImageUpdate
from lookalike.records.job import IngestOptions, JobOptions, NearDuplicatePolicy
from lookalike.records.search import ByImage, ByStoredImage, ByVectors, Query
from lookalike.records.source import Source, Upload, UploadItem, UploadSource, any_of
from lookalike.spaces import HistogramSettings, Space, Vector

_PARTS: Mapping[object, Callable[[str, object], object]] = {
    "str": _arguments.text,
    "bool": _arguments.flag,
    "tuple[str, ...]": _arguments.texts,
}
"""The check of a source's field, by the field's type; a `uri` may also be a `Path`."""


def source(given: object) -> Source:
    """A source; an `Upload` gives its `UploadSource`."""
    if isinstance(given, Upload):
        given = UploadSource(given.id)
    if not isinstance(given, Source):
        names = [record.__name__ for record in (*get_args(Source), Upload)]
        raise InvalidArgument("source", f"is not a source; give {any_of(names)}")
    checks = {field.name: _arguments.place if field.name == "uri" else _PARTS[field.type] for field in fields(given)}
    values: dict[str, Any] = {name: check(f"source.{name}", getattr(given, name)) for name, check in checks.items()}
    return replace(given, **values)


def job_options(given: object) -> JobOptions:
    """The options, with threshold 0 where near-duplicates are kept; 0 leaves the threshold to the server."""
    options = _arguments.record("options", given, IngestOptions)
    policy = _arguments.member("options.near_duplicates", options.near_duplicates, NearDuplicatePolicy)
    threshold = _arguments.float32("options.near_threshold", options.near_threshold, "0 to 1")
    return JobOptions(
        policy,
        0.0 if policy is NearDuplicatePolicy.KEEP else threshold,
        mirror=_arguments.flag("options.mirror", options.mirror),
        dry_run=_arguments.flag("options.dry_run", options.dry_run),
    )


def upload_item(given: UploadItem) -> UploadItem:
    """The item, with the bytes of its file. A picture that is too large, and a `Path` that cannot be read, are sent as a
    problem, so that the item fails alone and not the upload. Raises `InvalidArgument` also for metadata that JSON cannot
    hold."""
    item = UploadItem(
        id=_arguments.text("items.id", given.id),
        uri=_arguments.place("items.uri", given.uri),
        problem=_arguments.text("items.problem", given.problem),
        problem_reason=_arguments.text("items.problem_reason", given.problem_reason),
        metadata=metadata(given.metadata, given.id or str(given.uri)),
    )
    try:
        content = _arguments.picture("items.content", given.content)
    except InvalidArgument:
        raise
    except LookalikeError as error:
        return replace(item, problem=error.message, problem_reason=error.reason)
    if len(content) > MAX_IMAGE_BYTES:
        size_bytes = given.content.stat().st_size if isinstance(given.content, Path) else len(content)
        problem = f"is {size_bytes} bytes long; at most {MAX_IMAGE_BYTES} are allowed"
        return replace(item, problem=problem, problem_reason="IMAGE_TOO_LARGE")
    return replace(item, content=content)


def histogram(given: object) -> HistogramSettings:
    """Histogram settings, which have checked their fields when they were made."""
    return _arguments.record("histogram", given, HistogramSettings)


def image_update(given: ImageUpdate) -> ImageUpdate:
    merge = _arguments.flag("updates.merge", given.merge)
    return ImageUpdate(_arguments.text("updates.id", given.id), metadata(given.metadata, given.id), merge)


def given_image(given: Image, spaces: Sequence[Space]) -> GivenImage:
    """The image with its vectors in `spaces`. Raises `InvalidArgument` where it lacks one, and for metadata that JSON cannot
    hold."""
    found = _arguments.pairs("vectors", given.vectors, "its vector", _arguments.vector)
    for space in spaces:
        if space.name not in found:
            raise InvalidArgument("vectors", f"image {given.id!r} has none for space {space.name!r}")
    return GivenImage(
        id=_arguments.text("images.id", given.id),
        uri=_arguments.text("images.uri", given.uri),
        metadata=metadata(given.metadata, given.id),
        sha256=_arguments.text("images.sha256", given.sha256),
        index_time=_arguments.moment("images.index_time", given.index_time),
        vectors=tuple(GivenVector(space.name, found[space.name], space.fingerprint) for space in spaces),
    )


def query(image: bytes | Path | None, vectors: Mapping[str, Vector] | None, image_id: str | None) -> Query:
    """What a search looks for, from the one argument that is not None (`check_one` has checked that).

    Raises `InvalidArgument` (wrong type, vectors of a wrong shape), `BadImage` (its size), and for a `Path` `NotFound` and
    `FailedPrecondition`.
    """
    if image is not None:
        content = _arguments.picture("image", image)
        if len(content) > MAX_IMAGE_BYTES:
            size_bytes = image.stat().st_size if isinstance(image, Path) else len(content)
            problem = f"is {size_bytes} bytes; at most {MAX_IMAGE_BYTES} are allowed"
            raise BadImage(problem, reason="IMAGE_TOO_LARGE")
        return ByImage(content)
    if vectors is not None:
        found = _arguments.pairs("vectors", vectors, "its vector", _arguments.vector)
        return ByVectors(tuple(GivenVector(name, vector) for name, vector in found.items()))
    return ByStoredImage(_arguments.text("image_id", image_id))


def metadata(given: object, name: str) -> dict[str, object]:
    """The metadata of the item called `name`, in types that protobuf takes. Raises `InvalidArgument` for values that JSON
    cannot hold."""
    if not isinstance(given, Mapping):
        raise InvalidArgument("metadata", f"of item {name!r} is not JSON: is of type {type(given).__name__}, not a mapping")
    try:
        check_metadata(given)
    except InvalidArgument as error:
        raise InvalidArgument("metadata", f"of item {name!r} {error.problem}") from error
    return {key: _bare(value) for key, value in given.items()}


def _bare(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _bare(inner) for key, inner in value.items()}
    return [_bare(inner) for inner in value] if isinstance(value, list | tuple) else value
