"""The OpenAPI document, made of the operations and of the schemas of their messages.

Generated clients and fuzzers take it at its word: what it invites to is read, and what it does not is refused. Called by `app`
once; the operations by hand take their schemas from here, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.api.field_behavior_pb2 import REQUIRED
from google.protobuf.descriptor import FieldDescriptor

from gateway.calls import DEFAULT_S, MAX_S
from gateway.http.operations import Operation
from gateway.http_server.requests import FORM, JSON, LEAST_TIMEOUT_S, TIMEOUT
from gateway.message_json.contract import behavior, comment
from gateway.message_json.schemas import Schemas, object_of, reference

BINARY = {"type": "string", "format": "binary"}
_INSTEAD = {"lookalike.v1.SearchBatchResponse.error": "ErrorBody"}
"""What one query of many would have been answered alone over HTTP."""
_EXAMPLES = {"collection": "photos", "name": "photos", "id": "beach/0001.jpg"}
_FILTER = "year >= 2019"
_SLASHES = " URL-encoded; it may hold slashes."
_JOB = "0123456789abcdef0123456789abcdef"
_ERRORS = {
    400: "`INVALID_ARGUMENT`",
    404: "`NOT_FOUND`",
    409: "`FAILED_PRECONDITION`, `ALREADY_EXISTS` or `ABORTED`",
    413: "`INVALID_ARGUMENT`, reason `BODY_TOO_LARGE`",
    429: "`RESOURCE_EXHAUSTED`; see the header `Retry-After`",
    500: "`INTERNAL`: a defect; the message gives the incident's number in the log",
    503: "`UNAVAILABLE`: something we depend on; see the header `Retry-After`",
    504: "`DEADLINE_EXCEEDED`",
}
_EVERYWHERE = (429, 500, 503, 504)
_TEXT = {"type": "string"}
_ERROR_FIELDS: Mapping[str, tuple[dict[str, Any], str]] = {
    "code": ({"type": "integer"}, "The HTTP status code."),
    "status": (_TEXT, "The gRPC status code, such as `INVALID_ARGUMENT`."),
    "reason": (_TEXT, "UPPER_SNAKE, for programs: `IMAGE_EMPTY`, `FILTER_INVALID`, `COLLECTION_NOT_FOUND`, ..."),
    "message": (_TEXT, "One line for people."),
    "field": ({"type": ["string", "null"]}, "The field of the request at fault, where there is one."),
    "metadata": (
        {"type": "object", "additionalProperties": _TEXT},
        "Further facts, such as the two fingerprints that differ.",
    ),
}


def document(operations: Iterable[Operation], **info: Any) -> dict[str, Any]:
    error = {name: {**schema, "description": said} for name, (schema, said) in _ERROR_FIELDS.items()}
    errors = {
        "ErrorBody": object_of(error, list(error), "What went wrong."),
        "ErrorResponse": object_of({"error": reference("ErrorBody")}, ["error"], "Any answer outside 2xx and 3xx."),
    }
    schemas = Schemas(errors, _INSTEAD)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path.replace(":path}", "}"), {})[operation.verb.lower()] = _described(operation, schemas)
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": dict(sorted(schemas.named.items()))}}


def parameter(
    field: FieldDescriptor, where: str, *, name: str = "", required: bool = True, description: str = ""
) -> dict[str, Any]:
    """A parameter that takes what `field` takes, in a `where` of "path", which has an item of a list, or "query"."""
    schema = Schemas({}, {}).asked(field)
    if where == "path":
        schema = schema.get("items", schema)
    return {
        "name": name or field.name,
        "in": where,
        "required": required,
        "description": description or comment(field.full_name),
        "schema": {key: value for key, value in schema.items() if key != "description"},
    }


def _described(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description.strip(),
        "tags": [operation.tag],
        "parameters": _parameters(operation),
    }
    content = _contents(operation, schemas)
    if content:
        described["requestBody"] = {"required": operation.needs_body or operation.form is not None, "content": content}
    responses: dict[int, Any] = dict(operation.responses)
    if not responses:
        content_of_answer = {operation.answer_type: {"schema": schemas.answer(operation.answer)}}
        responses[operation.code] = {"description": "Success", "content": content_of_answer}
    for code in (*operation.errors, *([413] if content else []), *_EVERYWHERE):
        responses[code] = {"description": _ERRORS[code], "content": {JSON: {"schema": reference("ErrorResponse")}}}
    described["responses"] = {str(code): responses[code] for code in sorted(responses)}
    return described


def _contents(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.body is not None and operation.body.fields:
        name = f"{operation.body.message.name}Input" if operation.body_path else f"{operation.name}Request"
        content[JSON] = {"schema": schemas.request(operation.body, name)}
        if operation.example:
            content[JSON]["example"] = json.loads(operation.example)
    if operation.form is not None:
        content[FORM] = {"schema": operation.form(schemas)}
    return content


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [
        parameter(
            field, "path", name=name, description=comment(field.full_name) + _SLASHES * (f"{{{name}:path}}" in operation.path)
        )
        for name, field in operation.fields_in_path()
    ]
    in_query = [
        parameter(field, "query", required=REQUIRED in behavior(field) or field.name in operation.required)
        for field in operation.query.fields
    ]
    timeout = {
        "name": TIMEOUT,
        "in": "header",
        "required": False,
        "description": f"Seconds this request may take, at most {MAX_S:g}; {DEFAULT_S:g} if absent.",
        "schema": {"type": "number", "minimum": LEAST_TIMEOUT_S},
    }
    found = [*in_path, *in_query, *map(dict, operation.parameters), timeout]
    found.sort(key=lambda one: operation.path.find(f"{{{one['name']}") if one["in"] == "path" else len(operation.path))
    examples = _EXAMPLES | ({"id": _JOB} if "/ingest-jobs" in operation.path else {})
    for one in found:
        if one["required"]:
            one["example"] = examples.get(one["name"], _FILTER)
    return found
