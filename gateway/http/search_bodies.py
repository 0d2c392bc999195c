"""Bodies of a search and of a batch of them: a form with files, or JSON. They become messages of the contract here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel, SkipValidation, create_model
from starlette.datastructures import UploadFile

from gateway.backends.threads import off_loop
from gateway.http.convert import to_message
from gateway.http_server.errors import ErrorBody
from gateway.http_server.json_texts import PIECE, read_json
from gateway.http.models import absent_or, answer_model, is_map, request_model
from gateway.http.reading import FORM_TEXT_BYTES, LARGE_BODY_BYTES, check_known, read_body, read_form, validated
from lookalike.errors import InvalidArgument
from lookalike.names import MAX_QUERIES_PER_BATCH
from lookalike.records.search_options import DEFAULT_TOP_K
from lookalike.v1 import search_service_pb2 as pb

FORM_TYPE, JSON_TYPE = "multipart/form-data", "application/json"
_FORM_TEXTS = 64
_COLLECTION = frozenset({"collection"})

Query = request_model(pb.Query.DESCRIPTOR)
Options = request_model(pb.SearchOptions.DESCRIPTOR)
SearchBody = request_model(pb.SearchRequest.DESCRIPTOR, without=_COLLECTION, body_bytes=LARGE_BODY_BYTES)
BatchBody = request_model(pb.SearchBatchRequest.DESCRIPTOR, without=_COLLECTION, body_bytes=LARGE_BODY_BYTES)
_BatchAsItCame = create_model("_BatchAsItCame", __base__=BatchBody, queries=SkipValidation[list[Any]])
"""The same before its queries are looked at, one by one: all of them in one go would take a tenth of a second."""
_OPTIONS = pb.SearchOptions.DESCRIPTOR.fields_by_name


async def read_search(request: Request) -> pb.SearchRequest:
    """A search. In a form, `image` is a file. Raises `InvalidArgument`."""
    if _kind(request) == JSON_TYPE:
        body = await read_body(request, SearchBody)
        large = body.query.image is not None and len(body.query.image) > PIECE
        return await off_loop(lambda: to_message(body, pb.SearchRequest()), large)
    images, options = await _read_form(request, "image", 1)
    return pb.SearchRequest(query=pb.Query(image=images[0]) if images else None, options=options)


async def read_batch(request: Request) -> pb.SearchBatchRequest:
    """Many searches. In a form, the `images` are files. Raises `InvalidArgument`."""
    if _kind(request) == JSON_TYPE:
        body = await read_body(request, _BatchAsItCame)
        return await off_loop(lambda: _batch_of(body), large=True)
    images, options = await _read_form(request, "images", MAX_QUERIES_PER_BATCH)
    return pb.SearchBatchRequest(queries=[pb.Query(image=image) for image in images], options=options)


def _kind(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM_TYPE, JSON_TYPE):
        raise InvalidArgument("body", f"has content type {kind or 'none'!r}; send {FORM_TYPE} or {JSON_TYPE}")
    return kind


def _batch_of(body: Any) -> pb.SearchBatchRequest:
    if not isinstance(body.queries, list):
        raise InvalidArgument("queries", "should be a list")
    if len(body.queries) > MAX_QUERIES_PER_BATCH:
        raise InvalidArgument("queries", f"{len(body.queries)} are given; 1 to {MAX_QUERIES_PER_BATCH} are allowed")
    message = pb.SearchBatchRequest()
    to_message(body.options, message.options, "options")
    for index, query in enumerate(body.queries):
        path = f"queries[{index}]"
        to_message(validated(Query, query, f"{path}.", whole=BatchBody), message.queries.add(), path)
    return message


async def _read_form(request: Request, name: str, most: int) -> tuple[list[bytes], pb.SearchOptions]:
    """Up to `most` files called `name`; every other field is the text of an option: a list repeats, or is separated by commas;
    a map is a JSON object. Raises `InvalidArgument`."""
    async with read_form(request, files=most, texts=_FORM_TEXTS) as form:
        files = form.getlist(name)
        contents = [await file.read() for file in files if isinstance(file, UploadFile)]
        if len(contents) < len(files):
            raise InvalidArgument(name, "must be a file in the form, not text")
        texts = {field: form.getlist(field) for field in form if field != name}
        if wrong := [field for field, values in texts.items() if not all(isinstance(value, str) for value in values)]:
            raise InvalidArgument(wrong[0], f"must be text in the form; files are called {name!r}")
    check_known(Options, texts)
    options = {option: _form_value(option, values) for option, values in texts.items()}
    return contents, to_message(validated(Options, options, "options."), pb.SearchOptions(), "options")


def _form_value(name: str, values: list[Any]) -> object:
    field, path = _OPTIONS[name], f"options.{name}"
    if field.is_repeated and not is_map(field):
        return [part.strip() for value in values for part in value.split(",") if part.strip()]
    if len(values) > 1:
        raise InvalidArgument(path, "is given more than once")
    if not is_map(field):
        return values[0]
    try:
        return read_json(values[0].encode(), path)
    except InvalidArgument as error:
        raise InvalidArgument(path, 'is not a JSON object such as {"siamese": 2}') from error


def batch_answer_model() -> type[BaseModel]:
    """A line of the answer to a batch. Its error is what the query would have been answered alone over HTTP."""
    line = pb.SearchBatchResponse.DESCRIPTOR
    return create_model(line.name, __base__=answer_model(line), error=absent_or(ErrorBody, line.fields_by_name["error"]))


def search_body() -> Mapping[str, Any]:
    """OpenAPI of the two kinds of body; FastAPI cannot say that there is a choice."""
    picture = {"type": "string", "format": "binary", "description": "An encoded picture, at most 20 MB."}
    return _body({"image": picture}, SearchBody)


def batch_body() -> Mapping[str, Any]:
    """The same of a batch."""
    pictures = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": MAX_QUERIES_PER_BATCH,
        "description": f"Encoded pictures, 1 to {MAX_QUERIES_PER_BATCH}.",
    }
    return _body({"images": pictures}, BatchBody)


def _body(files: Mapping[str, Any], model: type[BaseModel]) -> Mapping[str, Any]:
    form, body = _schema(Options), _schema(model)
    for options in (form, body["properties"]["options"]):
        options["properties"]["top_k"]["default"] = DEFAULT_TOP_K
    for name, field in _OPTIONS.items():
        if is_map(field):
            form["properties"][name] = {"type": "string", "maxLength": FORM_TEXT_BYTES, "description": "A JSON object."}
    form["properties"] = {**files, **form["properties"]}
    form["required"] = list(files)
    return {"required": True, "content": {JSON_TYPE: {"schema": body}, FORM_TYPE: {"schema": form}}}


def _schema(model: type[BaseModel]) -> Any:
    """With every `$ref` replaced by what it names: `$defs` have no place inside the document."""
    schema = model.model_json_schema()
    named = schema.pop("$defs", {})

    def whole(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                beside = {key: value for key, value in part.items() if key != "$ref"}
                return {**whole(named[part["$ref"].rpartition("/")[2]]), **whole(beside)}
            return {key: whole(value) for key, value in part.items() if (key, value) != ("default", None)}
        return [whole(value) for value in part] if isinstance(part, list) else part

    return whole(schema)
