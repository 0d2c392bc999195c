"""The edge of every gRPC server: counts and times each call, and turns exceptions into statuses with details.

A servicer just raises our exceptions. Anything else is a defect: it is logged with its traceback under an incident number,
and the caller sees the number, not the traceback. One for threads, one for asyncio; what they share is above them.
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
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from lookalike.errors import Cancelled, Internal, InvalidArgument, LookalikeError
from lookalike.runtime import tracing
from lookalike.runtime.status import to_status
from lookalike.runtime.telemetry import observed

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # a string: generic only in the type stubs
_OURS = "/lookalike."


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Takes the place of a request whose bytes are no such message, on the way from gRPC to us."""

    problem: str


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
        readable = _each_readable if handler.request_streaming else _readable
        return _rebuilt(handler, stream if handler.response_streaming else answer)


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
                    return await behaviour(readable(request), context)
            except Exception as error:  # noqa: BLE001 - the edge
                await abort(error, context)

        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            try:
                with observed(method, tracing.incoming(context.invocation_metadata())):
                    async for message in behaviour(readable(request), context):
                        yield message
            except Exception as error:  # noqa: BLE001 - the edge
                await abort(error, context)

        behaviour = _behaviour(handler)
        readable = _each_readable_in_turn if handler.request_streaming else _readable
        return _rebuilt(handler, stream if handler.response_streaming else answer)


def _behaviour(handler: Handler) -> Callable[..., Any]:
    chosen = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert chosen is not None, "a handler has one behaviour"  # noqa: S101 - gRPC's own invariant
    return chosen


def _readable(request: Any) -> Any:
    """`request`, unless it could not be read. Raises `InvalidArgument` ("request") then."""
    if isinstance(request, _Unreadable):
        raise InvalidArgument("request", request.problem, reason="REQUEST_UNREADABLE")
    return request


def _each_readable(requests: Iterable[Any]) -> Iterator[Any]:
    for request in requests:
        yield _readable(request)


async def _each_readable_in_turn(requests: AsyncIterable[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


def _reading(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`deserialize` that returns what it would raise: gRPC would answer UNKNOWN, with the name of a class of Python's."""
    if deserialize is None:
        return None

    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError as error:
            return _Unreadable(f"cannot be read: {error}")

    return read


def _rebuilt(handler: Handler, behaviour: Callable[..., Any]) -> Handler:
    """`handler` with another behaviour of the same kind, which gets an `_Unreadable` for bytes that are no such message."""
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[(handler.request_streaming, handler.response_streaming)]
    return make(behaviour, _reading(handler.request_deserializer), handler.response_serializer)
