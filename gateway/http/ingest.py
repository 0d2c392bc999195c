"""Starting jobs: `POST /v1/ingest-jobs`, `POST /v1/collections/{collection}/images`. What is done with jobs is in `jobs`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.datastructures import FormData, UploadFile

from gateway.http import models
from gateway.http.convert import RequestCall, RequestTimeout, errors, respond, to_message
from gateway.http.json_texts import read_json
from gateway.http.reading import FORM_TEXT_BYTES, ReadingRoute, read_form
from gateway.jobs.ingest import Ingest
from lookalike.errors import InvalidArgument
from lookalike.names import MAX_IMAGE_BYTES, id_from_content
from lookalike.records.job import CreateJob
from lookalike.records.source import UploadItem, UploadSource
from lookalike.runtime.call import Call
from lookalike.v1 import ingest_service_pb2 as pb
from lookalike.wire.jobs import create_job_from, job_message

MAX_FILES = 1000
"""Images in one form; more go in several, or through the client, whose uploads are streams."""

_TAGS: list[str | Enum] = ["ingest"]
_UPLOAD_FORM = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "images": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
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


class CreateIngestJobBody(BaseModel, extra="forbid"):
    """What to ingest."""

    collection: models.Name = Field(description="It must exist.")
    source: models.Source
    request_id: models.RequestId = Field("", description="Makes the request idempotent: letters, digits or any of `. _ : -`.")
    near_duplicates: models.NearDuplicates | None = None
    mirror: bool = Field(
        False,
        description="At the end, delete the images that the source does not have: of a folder those whose URI lies in it, "
        "else all others of the collection.",
    )
    dry_run: bool = Field(False, description="Write nothing: list the source, try up to 100 items, say what it would take.")


def ingest_router(ingest: Ingest) -> APIRouter:
    router = APIRouter(route_class=ReadingRoute)
    _add_making(router, ingest)
    _add_uploading(router, ingest)
    return router


def _add_making(router: APIRouter, ingest: Ingest) -> None:
    @router.post(
        "/v1/ingest-jobs",
        summary="Start a job over a folder, a manifest, tar files or an upload",
        status_code=201,
        response_model=models.CreateIngestJobResponse,
        tags=_TAGS,
        responses=errors(400, 404),
    )
    async def create(body: CreateIngestJobBody, call: RequestCall) -> Response:
        if len(body.source.model_dump(exclude_none=True)) > 1:
            raise InvalidArgument("source", "names more than one source; give a folder, a manifest, an archive or an upload")
        job = await ingest.create(create_job_from(to_message(body, pb.CreateIngestJobRequest())), call)
        return respond(pb.CreateIngestJobResponse(job=job_message(job)), 201)


def _add_uploading(router: APIRouter, ingest: Ingest) -> None:
    @router.post(
        "/v1/collections/{collection}/images",
        summary="Add images: upload them and start a job",
        description=f"At most {MAX_FILES:,} images of 20 MB each. An image that cannot be used fails alone: see the job. "
        "The time that the upload takes does not count.",
        tags=["images"],
        status_code=202,
        response_model=models.CreateIngestJobResponse,
        responses=errors(400, 404, 413),
        openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD_FORM}}}},
    )
    async def add_images(collection: models.Name, request: Request, timeout_s: RequestTimeout) -> Response:
        async with read_form(request, files=MAX_FILES, texts=2 * MAX_FILES) as form:
            uploaded = await ingest.upload(collection, _items(form))
        source = UploadSource(uploaded.id)
        job = await ingest.create(CreateJob(collection, source), Call.begun(timeout_s))
        return respond(pb.CreateIngestJobResponse(job=job_message(job)), 202)


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
