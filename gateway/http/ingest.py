"""`POST /v1/collections/{collection}/images`: a form of pictures, uploaded and ingested by a job of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import FormData, UploadFile

from gateway.http.convert import RequestTimeout, errors, respond
from gateway.http_server.json_texts import read_json
from gateway.http.models import Name, answer_model
from gateway.http.reading import FORM_TEXT_BYTES, ReadingRoute, read_form
from gateway.jobs.ingest import Ingest
from lookalike.errors import InvalidArgument
from lookalike.names import MAX_IMAGE_BYTES, id_from_content
from lookalike.records.job import CreateJob
from lookalike.records.source import UploadItem, UploadSource
from lookalike.runtime.call import Call
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import job_message

MAX_FILES = 1000
"""Images in one form; more go in several, or through the client, whose uploads are streams."""

_UPLOAD_FORM = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "images": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": MAX_FILES,
            "description": "Encoded pictures.",
        },
        "ids": {
            "type": "array",
            "items": {"type": "string", "maxLength": FORM_TEXT_BYTES},
            "maxItems": MAX_FILES,
            "description": "One per image, in order; an empty one, like none at all, stands for a hash of the content.",
        },
        "metadata": {
            "type": "array",
            "items": {"type": "string", "maxLength": FORM_TEXT_BYTES},
            "maxItems": MAX_FILES,
            "description": 'One JSON object per image, in order, such as {"label": "Coat"}.',
        },
    },
}


def ingest_router(ingest: Ingest) -> APIRouter:
    router = APIRouter(route_class=ReadingRoute)

    @router.post(
        "/v1/collections/{collection}/images",
        summary="Add images: upload them and start a job",
        description=f"At most {MAX_FILES:,} images of 20 MB each. An image that cannot be used fails alone: see the job. "
        "The time that the upload takes does not count.",
        operation_id="AddImages",
        tags=["images"],
        status_code=202,
        response_model=answer_model(pb.CreateIngestJobResponse.DESCRIPTOR),
        responses=errors(400, 404, 413),
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD_FORM}}}},
    )
    async def add_images(collection: Name, request: Request, timeout_s: RequestTimeout) -> Response:
        async with read_form(request, files=MAX_FILES, texts=2 * MAX_FILES) as form:
            uploaded = await ingest.upload(collection, _items(form))
        source = UploadSource(uploaded.id)
        job = await ingest.create(CreateJob(collection, source), Call.begun(timeout_s))
        return await respond(pb.CreateIngestJobResponse(job=job_message(job)), 202)

    return router


async def _items(form: FormData) -> AsyncIterator[UploadItem]:
    """The form's images one by one. What is wrong with one of them makes that one fail in the job, not the others here."""
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
