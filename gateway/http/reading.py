"""How every route of the API reads its request: query string, JSON body or form, within bounds, and never long on the loop.

A body is read and validated here, in a thread where it is large; a field that its model does not have is refused by its path,
at any depth. `ReadingRoute` is the class of all routes; `search_bodies` and `ingest` read their forms by `read_form`.
"""

from __future__ import annotations

import asyncio
import functools
import types
import typing
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData

from gateway.backends.threads import off_loop
from gateway.http_server.bodies import BODY_LIMIT_BYTES
from gateway.http_server.errors import BodyTooLarge
from gateway.http.errors import as_invalid
from gateway.http_server.json_texts import printable, read_json
from lookalike.errors import InvalidArgument

B = TypeVar("B", bound=BaseModel)

BODY_BYTES = 64 * 1024
"""The size of a JSON body, unless its model says otherwise in `body_bytes`."""
LARGE_BODY_BYTES = BODY_LIMIT_BYTES
"""The size of a body that holds pictures, or the metadata of a thousand images."""
_READ_AT_ONCE_BYTES = 32 * 1024
"""The size of a body that is read on the loop: a millisecond."""
_CHUNK_BYTES = 64 * 1024
"""The part of a form that is read in one go: a millisecond, some ten where nothing but line ends comes."""
FORM_TEXT_BYTES = 128 * 1024
"""The size of a text in a form."""
_RENAMED = {
    "include_vectors": (("view", "options.view"), "IMAGE_VIEW_FULL"),
    "grace_s": (("grace",), 'a text such as "3600s"'),
    "histogram": (("spaces",), 'an entry {"name": "histogram", "histogram": {...}}'),
    "model": (("spaces",), 'an entry {"name": "siamese", "model": {"name": ...}}'),
}
"""Fields of before, with their places now and what stands there for their value."""
_MOST_PARAMETERS = 100
_MOST_QUERY_BYTES = 32 * 1024


class ReadingRoute(APIRoute):
    """A route whose body, where it has a model, is read and validated by `read_body`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        model = None if self.body_field is None else _model_in(self.body_field.field_info.annotation)

        async def read_and_handle(request: Request) -> Response:
            _check_query(request.scope["query_string"])
            return await handle(_Request(request, model))

        return read_and_handle


class _Request(Request):
    """What FastAPI gets: its own way to read a body is `json`."""

    def __init__(self, request: Request, model: type[BaseModel] | None) -> None:
        super().__init__(request.scope, request.receive, request._send)  # noqa: SLF001 - as FastAPI's documentation has it
        self._model = model

    async def json(self) -> Any:
        return await read_body(self, self._model) if self._model is not None else await super().json()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        async for chunk in super().stream():
            for start in range(0, max(1, len(chunk)), _CHUNK_BYTES):
                yield chunk[start : start + _CHUNK_BYTES]
                if len(chunk) > _CHUNK_BYTES:
                    await asyncio.sleep(0)


async def read_body(request: Request, model: type[B]) -> B:
    """The JSON body of `request`. Raises `InvalidArgument` by the path of what is wrong, `BodyTooLarge`."""
    content = await request.body()
    limit_bytes = int(getattr(model, "body_bytes", BODY_BYTES))
    if len(content) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    prefix = str(getattr(model, "body_path", ""))
    return await off_loop(lambda: validated(model, read_json(content), prefix), len(content) > _READ_AT_ONCE_BYTES)


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


def validated(model: type[B], value: object, prefix: str = "", whole: type[BaseModel] | None = None) -> B:
    """`value` as a `model`. Raises `InvalidArgument`, its field below `prefix`, in a body that is a `whole`."""
    check_known(model, value, prefix, whole)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise as_invalid(error.errors(include_url=False, include_input=False), prefix=prefix) from error


def check_known(model: type[BaseModel], value: object, prefix: str = "", whole: type[BaseModel] | None = None) -> None:
    """Raise `InvalidArgument` for the first field in `value`, at any depth, that `model` does not have.

    The error says where the body, a `whole` (`model` itself if None), has a field of that name.
    """
    if not isinstance(value, Mapping):
        return  # pydantic says so
    whole, known = whole or model, _inner_models(model)
    for name, inner in value.items():
        if name not in known:
            raise InvalidArgument(f"{prefix}{printable(str(name)[:80])}", not_known(name, _places(whole)))
        if (kind := known[name]) is not None:
            if isinstance(inner, list):
                for index, item in enumerate(inner):
                    check_known(kind, item, f"{prefix}{name}[{index}].", whole)
            else:
                check_known(kind, inner, f"{prefix}{name}.", whole)


def not_known(name: object, places: Mapping[str, str], problem: str = "is not a field of this request") -> str:
    """What is wrong with a field or parameter that is not there: the place that it has now, by `places`, or `problem`."""
    now, value = _RENAMED.get(str(name), ((), ""))
    place = next((one for one in now if one in places.values()), None) if now else places.get(str(name))
    if place is None:
        return problem
    return f"is {place} now" + (f", with {value}" if value else "")


@functools.cache
def _places(model: type[BaseModel]) -> Mapping[str, str]:
    """The path of each field of `model` by its name, at any depth, but for those in lists; the least deep of several."""
    places = {name: name for name in _inner_models(model)}
    for name, field in model.model_fields.items():
        if (inner := _model_in(field.annotation, lists=False)) is not None:
            places = {**{deeper: f"{name}.{path}" for deeper, path in _places(inner).items()}, **places}
    return places


@functools.cache
def _inner_models(model: type[BaseModel]) -> Mapping[str, type[BaseModel] | None]:
    """The fields of `model`, each with the model of its value or its items, if it has one."""
    return {field.alias or name: _model_in(field.annotation) for name, field in model.model_fields.items()}


def _model_in(annotation: Any, *, lists: bool = True) -> type[BaseModel] | None:
    """The model that a value of this type is, or may be, or is a list of, where `lists` count."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (*([list] if lists else []), typing.Union, types.UnionType, typing.Annotated):
        inners = (_model_in(one, lists=lists) for one in typing.get_args(annotation))
        return next(filter(None, inners), None)
    return None


def _check_query(query: bytes) -> None:
    if len(query) > _MOST_QUERY_BYTES:
        raise InvalidArgument("query", f"is {len(query):,} bytes long; at most {_MOST_QUERY_BYTES:,} are allowed")
    if query.count(b"&") >= _MOST_PARAMETERS:
        raise InvalidArgument("query", f"holds more than {_MOST_PARAMETERS} parameters")
