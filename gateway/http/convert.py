"""Between HTTP and the contract's messages: bodies in, JSON out, deadlines from a header. Used by every route."""

from __future__ import annotations

import binascii
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Header, Response
from fastapi.responses import JSONResponse
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic import BaseModel

from gateway.backends.large_answers import Answer
from gateway.backends.threads import off_loop
from gateway.calls import DEFAULT_S, MAX_S
from gateway.http_server.errors import ErrorResponse
from gateway.http_server.json_texts import PIECE, json_pieces
from gateway.http.message_json import to_json
from gateway.http.models import is_map
from lookalike.bounds import list_in
from lookalike.errors import InvalidArgument, one_line
from lookalike.runtime.call import Call

M = TypeVar("M", bound=Message)

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "`INVALID_ARGUMENT` or `FAILED_PRECONDITION`"},
    404: {"model": ErrorResponse, "description": "`NOT_FOUND`"},
    409: {"model": ErrorResponse, "description": "`ALREADY_EXISTS` or `ABORTED`"},
    413: {"model": ErrorResponse, "description": "`INVALID_ARGUMENT`, reason `BODY_TOO_LARGE`"},
    429: {"model": ErrorResponse, "description": "`RESOURCE_EXHAUSTED`; see the header `Retry-After`"},
    500: {"model": ErrorResponse, "description": "`INTERNAL`: a defect; the message gives the incident's number in the log"},
    503: {"model": ErrorResponse, "description": "`UNAVAILABLE`: something we depend on; see the header `Retry-After`"},
    504: {"model": ErrorResponse, "description": "`DEADLINE_EXCEEDED`"},
}
"""What any route may answer besides success, for the OpenAPI."""


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Those that every route shares, and `codes`."""
    return {code: ERRORS[code] for code in sorted({*codes, 429, 500, 503, 504})}


async def respond(answer: Message | Answer, status_code: int = 200) -> Response:
    """`answer` as JSON. A large one is made and written in a thread, an item of its lists at a time."""
    if isinstance(answer, Message):
        return JSONResponse(to_json(answer), status_code=status_code)
    if not answer.large:
        return JSONResponse(to_json(answer.message()), status_code=status_code)
    content = await off_loop(lambda: b"".join(json_pieces(to_json(answer.message()))), large=True)
    return Response(content, status_code=status_code, media_type="application/json")


def to_message(body: BaseModel | None, message: M, path: str = "") -> M:
    """Fill `message` from a body, a part of one or a query that mirrors it and stands at `path`. Raises `InvalidArgument` for
    what only protobuf finds wrong, and for bytes that are not base64.

    Not by `json_format`, which takes 25 ms for a thousand ids.
    """
    if body is None:
        return message
    try:
        message.MergeFrom(type(message)(**_given(body, cast(Descriptor, message.DESCRIPTOR), f"{path}." if path else "")))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(path or "body", one_line(error)) from error
    return message


def _given(body: BaseModel, message: Descriptor, path: str) -> dict[str, Any]:
    """The fields that `body` has a value for, as their messages take them, but for those that it leaves out; `path` is before
    their names."""
    values = ((name, getattr(body, name)) for name, field in type(body).model_fields.items() if not field.exclude)
    return {name: _field(message.fields_by_name[name], value, path + name) for name, value in values if value is not None}


def _field(field: FieldDescriptor, value: Any, path: str) -> Any:
    if (items := list_in(field)) is not None:
        return _class_of(field)(**{items.name: _field(items, value, path)})
    if field.is_repeated and field.message_type is not None and not is_map(field):
        return [_one(field, one, f"{path}[{index}]") for index, one in enumerate(value)]
    return value if field.is_repeated else _one(field, value, path)


def _one(field: FieldDescriptor, value: Any, path: str) -> Any:
    if isinstance(value, BaseModel):
        inner = _class_of(field)
        return inner(**_given(value, inner.DESCRIPTOR, f"{path}."))
    return _decoded(value, path) if field.type == FieldDescriptor.TYPE_BYTES else value


def _class_of(field: FieldDescriptor) -> Any:
    return GetMessageClass(cast(Descriptor, field.message_type))


def _decoded(text: str, path: str) -> bytes:
    """A piece at a time: all of a large picture in one go would take a tenth of a second."""
    try:
        if "=" in text[:-2]:
            raise ValueError
        pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    except ValueError as error:
        raise InvalidArgument(path, "is not base64") from error


async def _timeout_s(
    x_timeout_s: Annotated[
        float | None, Header(gt=0, description=f"Seconds this request may take, at most {MAX_S:g}; {DEFAULT_S:g} if absent.")
    ] = None,
) -> float:
    return min(x_timeout_s or DEFAULT_S, MAX_S)


RequestTimeout = Annotated[float, Depends(_timeout_s)]
"""How many seconds the caller waits: for a route whose body may take longer to come than any answer to make."""


async def _call(timeout_s: RequestTimeout) -> Call:
    return Call.begun(timeout_s)


RequestCall = Annotated[Call, Depends(_call)]
"""The call that a route serves."""
