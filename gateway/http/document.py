"""The OpenAPI document: what FastAPI says of the routes and does not hold here is put right. Called by `app` once.

Generated clients and fuzzers take the document at its word.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

_JSON = "application/json"


def put_right(document: dict[str, Any]) -> None:
    """Change `document` in place.

    FastAPI's 422 never comes: what it finds wrong is a 400 in our shape. An error is JSON also where the answer is not. A
    header or a body that may be left out is not null.
    """
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)
            for code, response in responses.items():
                if int(code) >= HTTPStatus.BAD_REQUEST:
                    response["content"] = {_JSON: next(iter(response["content"].values()))}
            for parameter in operation.get("parameters", ()):
                _drop_null(parameter)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                _drop_null(content)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _drop_null(described: dict[str, Any]) -> None:
    schema = described["schema"]
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        described["schema"] = {**kinds[0], **schema} if "$ref" not in kinds[0] else kinds[0]
