"""Every error over HTTP in one shape: `{"error": {code, status, reason, message, field, metadata}}`."""

from __future__ import annotations

import math

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from gateway.http_server.json_texts import printable
from lookalike.errors import InvalidArgument, LookalikeError
from lookalike.wire.status import grpc_code, http_code


class ErrorBody(BaseModel):
    """What went wrong."""

    code: int = Field(description="The HTTP status code.")
    status: str = Field(description="The gRPC status code, such as `INVALID_ARGUMENT`.")
    reason: str = Field(description="UPPER_SNAKE, for programs: `IMAGE_EMPTY`, `FILTER_INVALID`, `COLLECTION_NOT_FOUND`, ...")
    message: str = Field(description="One line for people.")
    field: str | None = Field(description="The field of the request at fault, where there is one.")
    metadata: dict[str, str] = Field(description="Further facts, such as the two fingerprints that differ.")


class ErrorResponse(BaseModel):
    """Any answer outside 2xx and 3xx."""

    error: ErrorBody


class BodyTooLarge(InvalidArgument):
    """More bytes than a request to this path may have. Known to HTTP only, where it is 413."""

    reason = "BODY_TOO_LARGE"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("body", f"is larger than the {limit_bytes} bytes that are allowed here")


def error_response(error: LookalikeError, code: int | None = None) -> JSONResponse:
    """`error` in the one shape, with `Retry-After` where trying again makes sense; with another HTTP `code` than its own."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    body = error_body(error)
    return shaped(body if code is None else body.model_copy(update={"code": code}), headers)


def error_body(error: LookalikeError) -> ErrorBody:
    """`error` as the caller gets it, alone or as a line of a stream."""
    return ErrorBody(
        code=413 if isinstance(error, BodyTooLarge) else http_code(error),
        status=grpc_code(error).name,
        reason=error.reason,
        message=printable(error.message),
        field=None if error.field is None else printable(error.field),
        metadata={name: printable(value) for name, value in error.metadata.items()},
    )


def shaped(body: ErrorBody, headers: dict[str, str]) -> JSONResponse:
    """`body` as an answer of its code."""
    return JSONResponse(ErrorResponse(error=body).model_dump(), status_code=body.code, headers=headers)
