"""`POST /v1/collections/{collection}/images`: a form of pictures, uploaded and ingested by a job of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from gateway.http.openapi import BINARY
from gateway.http.operations import Asked, Operation, respond
from gateway.http_server.json_texts import read_json
from gateway.http_server.requests import FORM_TEXT_BYTES, read_form
from gateway.jobs.ingest import Ingest
from gateway.message_json.reading import Part
from lookalike.errors import InvalidArgument
from lookalike.names import MAX_IMAGE_BYTES, id_from_content
from lookalike.records.job import CreateJob
from lookalike.records.source import UploadItem, UploadSource
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import job_message

MAX_FILES = 1000
"""Images in one form; more go in several, or through the client, whose uploads are streams."""
_REQUEST = pb.CreateIngestJobRequest.DESCRIPTOR


def _list_of(items: dict[str, Any], description: str, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": MAX_FILES, "description": description, **more}


_TEXT = {"type": "string", "maxLength": FORM_TEXT_BYTES}
_ID_TEXT = "One per image, in order; an empty one, like none at all, stands for a hash of the content."
_METADATA_TEXT = 'One JSON object per image, in order, such as {"label": "Coat"}.'
_FORM: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["images"],
    "properties": {
        "images": _list_of(BINARY, "Encoded pictures.", minItems=1),
        "ids": _list_of(_TEXT, _ID_TEXT, example=["beach/0001.jpg"]),
        "metadata": _list_of(_TEXT, _METADATA_TEXT, example=['{"label": "Coat", "year": 2019}']),
    },
}


def ingest_operations(ingest: Ingest) -> Iterator[Operation]:
    async def add_images(asked: Asked) -> Response:
        collection = asked.message.collection
        async with read_form(asked.request, files=MAX_FILES, texts=2 * MAX_FILES) as form:
            uploaded = await ingest.upload(collection, _items(form))
        job = await ingest.create(CreateJob(collection, UploadSource(uploaded.id)), asked.call())
        return await respond(pb.CreateIngestJobResponse(job=job_message(job)), 202)

    yield Operation(
        name="AddImages",
        verb="POST",
        path="/v1/collections/{collection}/images",
        serve=add_images,
        summary="Add images: upload them and start a job",
        description=f"At most {MAX_FILES:,} images of 20,000,000 bytes each. An image that cannot be used fails alone: "
        "see the job. The time that the upload takes does not count.",
        tag="images",
        message=_REQUEST,
        in_path={"collection": "collection"},
        query=Part(_REQUEST, frozenset(_REQUEST.fields_by_name)),
        answer=pb.CreateIngestJobResponse.DESCRIPTOR,
        form=lambda _schemas: _FORM,
        code=202,
        uploads=True,
    )


async def _items(form: FormData) -> AsyncIterator[UploadItem]:
    """The form's images one by one. What is wrong with one of them makes that one fail in the job, not the others here."""
    if wrong := next((name for name in form if name not in _FORM["properties"]), None):
        raise InvalidArgument(wrong[:80], f"is not a field of this form ({', '.join(_FORM['properties'])})")
    files = form.getlist("images")
    if not files or not all(isinstance(file, UploadFile) for file in files):
        raise InvalidArgument("images", "is missing; send one or more files called 'images'")
    ids, metadata = _texts(form, "ids", len(files)), _texts(form, "metadata", len(files))
    for index, file in enumerate(file for file in files if isinstance(file, UploadFile)):
        yield await _item(file, ids[index], _object(metadata[index], f"metadata[{index}]"))


async def _item(file: UploadFile, image_id: str, metadata: dict[str, Any]) -> UploadItem:
    name = file.filename or ""
    if file.size == 0:
        return UploadItem(image_id, name, problem="the file is empty", problem_reason="IMAGE_EMPTY")
    if file.size is not None and file.size > MAX_IMAGE_BYTES:
        problem = f"the file is {file.size} bytes; at most {MAX_IMAGE_BYTES} are allowed"
        return UploadItem(image_id, name, problem=problem, problem_reason="IMAGE_TOO_LARGE")
    content = await file.read()
    # Not from the name: two folders may each have a photo.jpg.
    return UploadItem(image_id or id_from_content(content), name, content, metadata)


def _texts(form: FormData, name: str, count: int) -> Sequence[str]:
    given = [value for value in form.getlist(name) if isinstance(value, str)]
    if given and len(given) != count:
        raise InvalidArgument(name, f"{len(given)} are given for {count} images; give one per image or none")
    return given or [""] * count


def _object(text: str, field: str) -> dict[str, Any]:
    if not text:
        return {}
    value = read_json(text.encode(), field)
    if not isinstance(value, dict):
        raise InvalidArgument(field, 'is not a JSON object such as {"label": "Coat"}')
    return value
