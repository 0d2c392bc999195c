"""The edge of every gRPC server: counts and times each call, and turns exceptions into statuses with details.

A servicer just raises our exceptions. Anything else is a defect: it is logged with its traceback under an incident number,
and the caller sees the number, not the traceback. One for threads, one for asyncio; what they share is above them.

Requests are read here as well, within the bounds of the contract (`lookalike.bounds`); on asyncio large ones in a thread. A
servicer there may return a large answer as the bytes that it has become in a thread.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from lookalike import bounds
from lookalike.errors import Cancelled, Internal, InvalidArgument, LookalikeError
from lookalike.runtime import tracing
from lookalike.runtime.status import to_status
from lookalike.runtime.telemetry import observed

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # a string: generic only in the type stubs
_OURS = "/lookalike."
_READ_AT_ONCE_BYTES = 512 * 1024
"""Of a request that is read on the loop: some 5 ms of metadata at the worst. Most pictures are smaller, and going through a
thread would make their searches wait."""


@dataclass(frozen=True, slots=True)
class _Unread:
    """Takes the place of a request on the way from gRPC to us, whose own way to say what is wrong with it would be UNKNOWN."""

    content: bytes
    message: type[Message]

    def read(self) -> Message:
        """Raises `InvalidArgument`: the field that is over its bound, or REQUEST_UNREADABLE."""
        try:
            return bounds.read(self.content, self.message)
        except DecodeError as error:
            raise InvalidArgument("request", f"cannot be read: {error}", reason=bounds.UNREADABLE) from error


def as_ours(error: BaseException, method: str) -> LookalikeError:
    """`error` if it is one of ours; else `Internal` with an incident number under which the traceback is logged."""
    if isinstance(error, LookalikeError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Cancelled("the call was cancelled")
    incident = uuid.uuid4().hex[:12]
    structlog.get_logger().error("defect", method=method, incident=incident, exc_info=error)
    return Internal(f"something went wrong here; the log has it as incident {incident}", metadata={"incident": incident})


def wire_status(error: LookalikeError) -> Any:
    """gRPC's status (code, message, trailing metadata) for `error`."""
    return rpc_status.to_status(to_status(error))


class ErrorInterceptor(grpc.ServerInterceptor):
    """For servers with threads."""

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = continuation(details)
        if handler is None or not details.method.startswith(_OURS):
            return handler
        method = details.method.lstrip("/")

        def abort(error: BaseException, context: grpc.ServicerContext) -> NoReturn:
            context.abort_with_status(wire_status(as_ours(error, method)))

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                with observed(method, tracing.incoming(context.invocation_metadata())):
                    return behaviour(readable(request), context)
            except Exception as error:  # noqa: BLE001 - the edge
                abort(error, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with observed(method, tracing.incoming(context.invocation_metadata())):
                    yield from behaviour(readable(request), context)
            except Exception as error:  # noqa: BLE001 - the edge
                abort(error, context)

        behaviour = _behaviour(handler)
        readable = _each_read if handler.request_streaming else _read
        return _rebuilt(handler, method, stream if handler.response_streaming else answer)


class AioErrorInterceptor(grpc.aio.ServerInterceptor):
    """For servers on asyncio."""

    def __init__(self) -> None:
        self._made: dict[Handler, Handler] = {}
        """By the handler that they stand for: making one for every call would take as long as a small call's own work."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        if handler not in self._made:
            self._made[handler] = self._around(handler, handler_call_details.method.lstrip("/"))
        return self._made[handler]

    def _around(self, handler: Handler, method: str) -> Handler:
        async def abort(error: BaseException, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            status = wire_status(as_ours(error, method))
            await context.abort(status.code, status.details, status.trailing_metadata)

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                with observed(method, tracing.incoming(context.invocation_metadata())):
                    return await behaviour(await readable(request), context)
            except Exception as error:  # noqa: BLE001 - the edge
                await abort(error, context)

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                with observed(method, tracing.incoming(context.invocation_metadata())):
                    async for message in behaviour(await readable(request), context):
                        yield message
            except Exception as error:  # noqa: BLE001 - the edge
                await abort(error, context)

        behaviour = _behaviour(handler)
        readable = _each_read_in_turn if handler.request_streaming else _read_in_turn
        return _rebuilt(handler, method, stream if handler.response_streaming else answer)


def _behaviour(handler: Handler) -> Callable[..., Any]:
    chosen = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert chosen is not None, "a handler has one behaviour"  # noqa: S101 - gRPC's own invariant
    return chosen


def _read(request: _Unread) -> Message:
    return request.read()


def _each_read(requests: Iterable[_Unread]) -> Iterator[Message]:
    for request in requests:
        yield request.read()


async def _read_in_turn(request: _Unread) -> Message:
    """A large one is read in a thread: the loop has others to serve."""
    if len(request.content) <= _READ_AT_ONCE_BYTES:
        return request.read()
    return await asyncio.to_thread(request.read)


async def _each_read_in_turn(requests: AsyncIterable[_Unread]) -> AsyncIterable[Message]:
    async def read() -> AsyncIterator[Message]:
        async for request in requests:
            yield await _read_in_turn(request)

    return read()


def _written(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """`serialize` that lets bytes through: an answer that a thread has written."""
    if serialize is None:
        return None
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _rebuilt(handler: Handler, method: str, behaviour: Callable[..., Any]) -> Handler:
    """`handler` with another behaviour of the same kind, which gets its requests as `_Unread`."""
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[(handler.request_streaming, handler.response_streaming)]
    message = GetMessageClass(descriptor_pool.Default().FindMethodByName(method.replace("/", ".")).input_type)
    return make(behaviour, lambda content: _Unread(content, message), _written(handler.response_serializer))
