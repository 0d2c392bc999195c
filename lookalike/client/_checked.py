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
from lookalike.items import ITEM_INVALID
from lookalike.metadata import check_metadata
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.records.collection import CollectionDefaults
from lookalike.records.image import GivenImage, GivenVector, Image, ImageUpdate
from lookalike.records.job import IngestOptions, JobOptions, NearDuplicatePolicy
from lookalike.records.search import ByImage, ByStoredImage, ByVectors, Query
from lookalike.records.source import Source, Upload, UploadItem, UploadSource, any_of
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, ModelSettings, Space, SpaceSpec, Vector

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
    """The item, with the bytes of its file. Metadata that cannot be stored, a picture that is too large and a `Path` that
    cannot be read are sent as a problem, so that the item fails alone and not the upload."""
    metadata = _mapping("items.metadata", given.metadata)
    item = UploadItem(
        id=_arguments.text("items.id", given.id),
        uri=_arguments.place("items.uri", given.uri),
        problem=_arguments.text("items.problem", given.problem),
        problem_reason=_arguments.text("items.problem_reason", given.problem_reason),
    )
    try:
        check_metadata(metadata)
    except InvalidArgument as error:
        return replace(item, problem=error.message, problem_reason=ITEM_INVALID)
    item = replace(item, metadata=metadata)
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


def specs(given: object, model: object, histogram: object) -> list[SpaceSpec]:
    """The spaces of a new collection: those given, or the default ones with a model or histogram settings of their own. The
    records have checked their fields when they were made."""
    found = list(_arguments.records("spaces", given, SpaceSpec))
    name = _arguments.text("model", model)
    settings = HistogramSettings() if histogram is None else _arguments.record("histogram", histogram, HistogramSettings)
    if not name and histogram is None:
        return found
    if found:
        raise InvalidArgument("spaces", "are given beside model or histogram, which stand for the two default spaces")
    return [SpaceSpec(HISTOGRAM, settings), SpaceSpec(SIAMESE, ModelSettings(name))]


def defaults(given: object) -> CollectionDefaults:
    found = _arguments.record("defaults", given, CollectionDefaults)
    return CollectionDefaults(
        _arguments.texts("defaults.spaces", found.spaces),
        _arguments.weights(found.weights),
        _arguments.whole("defaults.ef", found.ef, "0 to 32,768"),
    )


def image_update(given: ImageUpdate, field: str) -> ImageUpdate:
    """The update that stands at `field`. Raises `InvalidArgument` for metadata that cannot be stored, by the value's path."""
    expected = given.expected_revision
    return ImageUpdate(
        _arguments.text(f"{field}.id", given.id),
        _metadata(f"{field}.metadata", given.metadata),
        _arguments.flag(f"{field}.merge", given.merge),
        None if expected is None else _arguments.whole64(f"{field}.expected_revision", expected, "from 1 on"),
    )


def given_image(given: Image, spaces: Sequence[Space], field: str) -> GivenImage:
    """The image that stands at `field`, with its vectors in `spaces`. Raises `InvalidArgument` where it lacks one, and for
    metadata that cannot be stored, by the value's path."""
    found = _arguments.pairs(f"{field}.vectors", given.vectors, "its vector", _arguments.vector)
    for space in spaces:
        if space.name not in found:
            raise InvalidArgument(f"{field}.vectors", f"image {given.id!r} has none for space {space.name!r}")
    return GivenImage(
        id=_arguments.text(f"{field}.id", given.id),
        uri=_arguments.text(f"{field}.uri", given.uri),
        metadata=_metadata(f"{field}.metadata", given.metadata),
        sha256=_arguments.text(f"{field}.sha256", given.sha256),
        index_time=_arguments.moment(f"{field}.index_time", given.index_time),
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


def _metadata(field: str, given: object) -> Mapping[str, object]:
    metadata = _mapping(field, given)
    check_metadata(metadata, field)
    return metadata


def _mapping(field: str, given: object) -> Mapping[str, object]:
    if not isinstance(given, Mapping):
        raise InvalidArgument(field, f"is of type {type(given).__name__}; give a mapping")
    return given
