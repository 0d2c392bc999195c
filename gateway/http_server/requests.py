"""What a request over HTTP brings beside its path: a query, a deadline, a JSON body or a form. Within bounds, and never long on
the loop. Called by the operations of `gateway.http`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request

from gateway.calls import DEFAULT_S, MAX_S
from gateway.http_server.bodies import BODY_LIMIT_BYTES
from gateway.http_server.errors import BodyTooLarge
from gateway.http_server.json_texts import printable, read_json
from lookalike.errors import InvalidArgument

JSON, FORM = "application/json", "multipart/form-data"
TIMEOUT = "x-timeout-s"
LEAST_TIMEOUT_S = 0.001
"""Bounds a deadline: no call is answered in less."""
_SECONDS = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,4})?")
FORM_TEXT_BYTES = 128 * 1024
"""The size of a text in a form."""
_BODY_BYTES = 64 * 1024
"""The size of a JSON body, where the bounds of its fields do not need more."""
_READ_AT_ONCE_BYTES = 32 * 1024
"""The size of a body that is read on the loop: a millisecond."""
_CHUNK_BYTES = 64 * 1024
"""The part of a form that is read in one go: a millisecond, some ten where nothing but line ends comes."""
_MOST_PARAMETERS = 100
_MOST_QUERY_BYTES = 32 * 1024


class PatientRequest(Request):
    """A request whose body is read a chunk at a time."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        async for chunk in super().stream():
            for start in range(0, max(1, len(chunk)), _CHUNK_BYTES):
                yield chunk[start : start + _CHUNK_BYTES]
                if len(chunk) > _CHUNK_BYTES:
                    await asyncio.sleep(0)


def kind_of(request: Request) -> str:
    """The content type, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def texts_of_query(request: Request) -> dict[str, list[str]]:
    """The parameters of the query by name. Raises `InvalidArgument` for too many of them."""
    query: bytes = request.scope["query_string"]
    if len(query) > _MOST_QUERY_BYTES:
        raise InvalidArgument("query", f"is {len(query):,} bytes long; at most {_MOST_QUERY_BYTES:,} are allowed")
    if query.count(b"&") >= _MOST_PARAMETERS:
        raise InvalidArgument("query", f"holds more than {_MOST_PARAMETERS} parameters")
    texts: dict[str, list[str]] = {}
    for name, text in request.query_params.multi_items():
        texts.setdefault(name, []).append(text)
    return texts


def timeout_of(request: Request) -> float:
    """How many seconds the caller waits. Raises `InvalidArgument` for a header that is no such number."""
    text = request.headers.get(TIMEOUT)
    if text is None:
        return DEFAULT_S
    if not _SECONDS.fullmatch(text) or float(text) < LEAST_TIMEOUT_S:
        raise InvalidArgument(TIMEOUT, f"is not a number of seconds, at least {LEAST_TIMEOUT_S:g}")
    return min(float(text), MAX_S)


async def read_json_body(request: Request, read: Callable[[Any], None], needed_bytes: int, *, required: bool) -> None:
    """Let `read` have the JSON body of `request`, which may need that many bytes, in a thread where it is large. Raises
    `InvalidArgument` for what is no JSON, and `BodyTooLarge`."""
    content = await request.body()
    limit_bytes = min(max(needed_bytes, _BODY_BYTES), BODY_LIMIT_BYTES)
    if len(content) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    if not content and not required:
        return
    if kind_of(request) != JSON:
        raise InvalidArgument("body", f"has content type {kind_of(request) or 'none'!r}; send {JSON}")
    if len(content) > _READ_AT_ONCE_BYTES:
        await asyncio.to_thread(lambda: read(read_json(content)))
    else:
        read(read_json(content))


def read_form(request: Request, *, files: int, texts: int) -> AbstractAsyncContextManager[FormData]:
    """A form with at most `files` files and `texts` texts, the latter of 128 KB each. Raises `InvalidArgument`."""
    return _Form(request, files, texts)


class _Form:
    def __init__(self, request: Request, files: int, texts: int) -> None:
        self._request, self._files, self._texts = request, files, texts

    async def __aenter__(self) -> FormData:
        form = await self._request.form(max_files=self._files, max_fields=self._texts, max_part_size=FORM_TEXT_BYTES)
        for name, value in form.multi_items():
            # A form may name its own encoding, and some can write half a character.
            if printable(name) != name or (isinstance(value, str) and printable(value) != value):
                await self._request.close()
                raise InvalidArgument(printable(name[:80]), "holds text that is not Unicode (a lone surrogate)")
        return form

    async def __aexit__(self, *_: object) -> None:
        await self._request.close()
