"""The edge of every gRPC server: counts and times each call, and turns exceptions into statuses with details.

A servicer raises the exceptions of `lookalike.errors`. Any other exception is a defect: it is logged with its traceback under
an incident number, and the caller sees the number, not the traceback. One interceptor is for threads and the other for asyncio;
the code that they share stands above them.

Requests are read here too, within the bounds of the contract (`lookalike.bounds`); on asyncio, large ones in a thread. There a
servicer may return a large answer as bytes that a thread has serialised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from lookalike import bounds
from lookalike.errors import Cancelled, DeadlineExceeded, InvalidArgument, LookalikeError, Overloaded, forget_frames
from lookalike.runtime import tracing
from lookalike.runtime.call import REQUEST_ID_HEADER, named, request_id_in
from lookalike.runtime.peers import Peers, RpcTasks
from lookalike.runtime.places import Place
from lookalike.runtime.telemetry import logged_defect, observed
from lookalike.wire.status import to_status

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # a string: generic only in the type stubs
AioContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
T = TypeVar("T")
_OURS = "/lookalike."
_NO_SIDE_EFFECTS = MethodOptions.IdempotencyLevel.NO_SIDE_EFFECTS
_READ_AT_ONCE_BYTES = 512 * 1024
"""Bounds a request that is read on the event loop, which takes 5 ms at the worst (metadata). Most pictures are smaller, and
their searches would wait for a thread."""


@dataclass(slots=True)
class _Unread:
    """A request that gRPC has not parsed: gRPC's own error for a request that cannot be parsed would be UNKNOWN.

    It is read once, and lets go of its bytes then: they are up to 32 MiB, and nobody needs them beside the message.
    """

    content: bytes
    message: type[Message]
    strict: bool

    def read(self) -> Message:
        """Parse a request. Raises `InvalidArgument` with the field that exceeds its bound, REQUEST_UNREADABLE, or FIELD_UNKNOWN
        where it is strict."""
        content, self.content = self.content, b""
        try:
            return bounds.read(content, self.message, strict=self.strict)
        except DecodeError as error:
            raise InvalidArgument("request", f"cannot be read: {error}", reason=bounds.UNREADABLE) from error


def as_ours(error: BaseException, method: str) -> LookalikeError:
    """`error` if it is a `LookalikeError`; else `Internal` with an incident number under which the traceback is logged."""
    if isinstance(error, LookalikeError):
        return error
    if isinstance(error, asyncio.CancelledError):
        return Cancelled("the call was cancelled")
    return logged_defect(error, "defect", "something went wrong here; the log has it", method=method)


def wire_status(error: LookalikeError, request_id: str = "") -> Any:
    """gRPC's status (code, message, trailing metadata) for `error`, with the call's id, if it has one."""
    status = rpc_status.to_status(to_status(error))
    if not request_id:
        return status
    return status._replace(trailing_metadata=(*status.trailing_metadata, (REQUEST_ID_HEADER, request_id)))


class ErrorInterceptor(grpc.ServerInterceptor):
    """The interceptor of servers with threads."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = continuation(details)
        if handler is None:
            return None
        if not details.method.startswith(_OURS):
            return self._foreign(handler)
        method = details.method.lstrip("/")

        def abort(error: BaseException, context: grpc.ServicerContext, request_id: str) -> NoReturn:
            status = wire_status(as_ours(error, method), request_id)
            forget_frames(error)
            context.abort_with_status(status)

        def admitted(requests: Iterator[_Unread], context: grpc.ServicerContext) -> tuple[_Unread | None, Place]:
            with _refusals_counted(method):
                first = self._first(requests, context)
                place = places.take(_end(context))
            if not context.add_callback(place.release):
                place.release()  # the peer has gone
            return first, place

        def answer(requests: Iterator[_Unread], context: grpc.ServicerContext) -> Any:
            with named(_request_id(context)) as request_id:
                try:
                    first, place = admitted(requests, context)
                    with observed(method, tracing.incoming(context.invocation_metadata())):
                        response = behaviour(readable(first, requests), context)
                    place.waits()  # until it is read
                    return response
                except Exception as error:  # noqa: BLE001 - the edge
                    abort(error, context, request_id)

        def stream(requests: Iterator[_Unread], context: grpc.ServicerContext) -> Iterator[Any]:
            with named(_request_id(context)) as request_id:
                try:
                    first, place = admitted(requests, context)
                    with observed(method, tracing.incoming(context.invocation_metadata())):
                        for message in behaviour(readable(first, requests), context):
                            place.waits()
                            yield message
                            place.goes_on()
                except Exception as error:  # noqa: BLE001 - the edge
                    abort(error, context, request_id)

        behaviour = _behaviour(handler)
        readable = _each_read if handler.request_streaming else _read
        places = self._peers.places_for(
            request_streaming=handler.request_streaming, response_streaming=handler.response_streaming
        )
        return _rebuilt(handler, method, stream if handler.response_streaming else answer)

    def _foreign(self, handler: Handler) -> Handler:
        """`handler` of gRPC's own services (health, reflection). A reflection stream waits for its peer from the start; a watch
        of health is at work, in places apart."""

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            places = self._peers.watches if handler.response_streaming else self._peers.arriving
            try:
                first = None if handler.request_streaming else self._first(requests, context)
                if first is None and not handler.request_streaming:
                    raise InvalidArgument("request", "is missing")
                place = places.take(_end(context))
            except LookalikeError as error:
                context.abort_with_status(wire_status(error))
            if handler.request_streaming:
                place.waits()
            if not context.add_callback(place.release):
                place.release()
            return behaviour(requests if handler.request_streaming else first, context)

        behaviour = _behaviour(handler)
        make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
        return make(answer, handler.request_deserializer, handler.response_serializer)

    def _first(self, requests: Iterator[T], context: grpc.ServicerContext) -> T | None:
        arriving = self._peers.arriving.take(_end(context))
        arriving.waits()
        try:
            return next(requests, None)
        except Exception as error:
            if context.is_active():
                raise
            raise Cancelled("the caller has gone, or its request took too long to come") from error
        finally:
            arriving.release()


class AioErrorInterceptor(grpc.aio.ServerInterceptor):
    """The interceptor of servers on asyncio."""

    def __init__(self, peers: Peers, tasks: RpcTasks) -> None:
        self._peers, self._tasks = peers, tasks
        self._made: dict[Handler, Handler] = {}
        """Wrapped handlers by the original one: making one for every call would take as long as the work of a small call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if not handler_call_details.method.startswith(_OURS):
            return self._foreign(handler)
        if handler not in self._made:
            self._made[handler] = self._around(handler, handler_call_details.method.lstrip("/"))
        return self._made[handler]

    def _foreign(self, handler: Handler) -> Handler:
        """`handler` of gRPC's own services. A health check and a reflection stream wait for their peer from the start; a watch
        of health is at work, in places apart."""
        try:
            watches = handler.response_streaming and not handler.request_streaming
            place = (self._peers.watches if watches else self._peers.arriving).take(self._tasks.ending())
        except Overloaded as error:
            return _refusing(error)
        if not watches:
            place.waits()
        _task().add_done_callback(lambda _: place.release())
        return handler

    def _around(self, handler: Handler, method: str) -> Handler:
        async def abort(error: BaseException, context: AioContext, request_id: str) -> None:
            status = wire_status(as_ours(error, method), request_id)
            forget_frames(error)
            await context.abort(status.code, status.details, status.trailing_metadata)

        async def admitted(context: AioContext) -> tuple[_Unread | None, Place]:
            """The first request, and a place of the call's kind until the call has ended."""
            with _refusals_counted(method):
                first = await self._first(context)
                place = places.take(self._tasks.ending())
            _task().add_done_callback(lambda _: place.release())
            return first, place

        async def answer(_requests: Any, context: AioContext) -> Any:
            with named(_request_id(context)) as request_id:
                try:
                    first, place = await admitted(context)
                    with observed(method, tracing.incoming(context.invocation_metadata())):
                        response = await behaviour(await readable(first, context, place), context)
                    place.waits()  # until it is read
                    return response
                except Exception as error:  # noqa: BLE001 - the edge
                    await abort(error, context, request_id)

        async def stream(_requests: Any, context: AioContext) -> AsyncIterator[Any]:
            with named(_request_id(context)) as request_id:
                try:
                    first, place = await admitted(context)
                    with observed(method, tracing.incoming(context.invocation_metadata())):
                        async for message in behaviour(await readable(first, context, place), context):
                            place.waits()
                            yield message
                            place.goes_on()
                except Exception as error:  # noqa: BLE001 - the edge
                    await abort(error, context, request_id)

        behaviour = _behaviour(handler)
        places = self._peers.places_for(
            request_streaming=handler.request_streaming, response_streaming=handler.response_streaming
        )
        readable = _each_read_in_turn if handler.request_streaming else _read_in_turn
        return _rebuilt(handler, method, stream if handler.response_streaming else answer)

    async def _first(self, context: AioContext) -> _Unread | None:
        """The call's first request, or None. Raises `DeadlineExceeded`, `Overloaded`."""
        task = _task()
        place = self._peers.arriving.take(lambda: _cancel(task))
        place.waits()
        try:
            request = await _next(context)
        except asyncio.CancelledError:
            if not place.ended:
                raise
            task.uncancel()
            late = f"the request did not come within {self._peers.silence_s:g} s"
            raise (
                DeadlineExceeded(late) if place.overdue else Overloaded("too many requests are on their way; try again")
            ) from None
        finally:
            place.release()
        return request


def _request_id(context: grpc.ServicerContext | AioContext) -> str:
    """The call's, which its answer carries as well."""
    request_id = request_id_in(context.invocation_metadata())
    context.set_trailing_metadata(((REQUEST_ID_HEADER, request_id),))
    return request_id


def _behaviour(handler: Handler) -> Callable[..., Any]:
    chosen = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    assert chosen is not None, "a handler has one behaviour"  # noqa: S101 - gRPC's own invariant
    return chosen


def _read(request: _Unread | None, _rest: Iterator[_Unread]) -> Message:
    if request is None:
        raise InvalidArgument("request", "is missing")
    return request.read()


def _each_read(first: _Unread | None, rest: Iterator[_Unread]) -> Iterator[Message]:
    if first is None:
        return
    yield first.read()
    for request in rest:
        yield request.read()


async def _read_in_turn(request: _Unread | None, _context: AioContext, _place: Place) -> Message:
    """Parse a request, a large one in a thread, since the event loop serves others. Raises `InvalidArgument`."""
    if request is None:
        raise InvalidArgument("request", "is missing")
    if len(request.content) <= _READ_AT_ONCE_BYTES:
        return request.read()
    return await asyncio.to_thread(request.read)


async def _each_read_in_turn(first: _Unread | None, context: AioContext, place: Place) -> AsyncIterator[Message]:
    async def read() -> AsyncIterator[Message]:
        if first is None:
            return
        yield await _read_in_turn(first, context, place)
        while True:
            place.waits()
            request = await _next(context)
            place.goes_on()
            if request is None:
                return
            yield await _read_in_turn(request, context, place)

    return read()


def _end(context: grpc.ServicerContext) -> Callable[[], None]:
    def end() -> None:
        context.cancel()

    return end


async def _next(context: AioContext) -> _Unread | None:
    """The call's next request, or None. gRPC's own iterator would make a circle of references for every call."""
    request = await context.read()
    return request if isinstance(request, _Unread) else None


def _task() -> asyncio.Task[Any]:
    """The task in which grpc.aio handles the call."""
    task = asyncio.current_task()
    assert task is not None, "grpc.aio handles a call in a task of its own"  # noqa: S101
    return task


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()


@contextmanager
def _refusals_counted(method: str) -> Iterator[None]:
    """Count a call that is refused before it reaches the servicer."""
    try:
        yield
    except LookalikeError:
        with observed(method):
            raise


def _refusing(error: LookalikeError) -> Handler:
    """A handler of the same kind that ends its call with `error`."""

    async def refuse(_requests: Any, context: AioContext) -> None:
        status = wire_status(error)
        await context.abort(status.code, status.details, status.trailing_metadata)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _written(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes] | None:
    """`serialize`, except for bytes, which a thread has serialised."""
    if serialize is None:
        return None
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _rebuilt(handler: Handler, method: str, behaviour: Callable[..., Any]) -> Handler:
    """`handler` with another behaviour, which gets its requests as a stream of `_Unread`, also where there is only one. So it
    is called before the request has come, and waits for it itself. On the wire both are the same.

    A field that this version does not know may narrow what is written or deleted. Only what changes nothing is done without it.
    """
    make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    called = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    message, strict = GetMessageClass(called.input_type), called.GetOptions().idempotency_level != _NO_SIDE_EFFECTS
    return make(behaviour, lambda content: _Unread(content, message, strict), _written(handler.response_serializer))
