"""Bodies of requests as they come: within their own limit, within what all may hold together, not too slowly. Used by `edge`.

Only what has arrived counts: a length that is announced costs nobody anything. A sender has `grace_s` for its pauses together,
and earns it back at the least rate, never more: much at first does not buy an hour of silence. Only time in which we wait for
the sender counts.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from starlette.types import Message, Receive

from gateway.http_server.errors import BodyTooLarge
from lookalike.errors import Cancelled, DeadlineExceeded, Overloaded
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.runtime.places import Place, Places

BODY_LIMIT_BYTES = MAX_IMAGE_BYTES * 4 // 3 + 1024 * 1024
"""The size of a body: a picture of the largest size in base64, and room for the fields beside it."""
FULL = "the bodies of other requests take all the memory there is for them; try again"


@dataclass(frozen=True, slots=True)
class Pace:
    """What is asked of a sender: seconds of pauses, and bytes a second."""

    grace_s: float = 20.0
    least_bytes_per_s: float = 4096.0


@dataclass(frozen=True, slots=True)
class Share:
    """Bodies of one kind of request: the bytes that one may have, and places for the bytes of all."""

    limit_bytes: int
    together: Places


class Body:
    """The body of one request, held until the request has been answered: a parsed body is as large as what came."""

    def __init__(self, receive: Receive, share: Share, pace: Pace) -> None:
        self._receive, self._share, self._pace = receive, share, pace
        self._received_bytes, self._credit_s = 0, pace.grace_s
        self._complete = False
        self._timer: asyncio.Timeout | None = None
        self._places = [share.together.take(self.end, 0)]

    def expect(self, content_length: str) -> None:
        """Raises `BodyTooLarge` before a byte is read, where the headers say that it will be."""
        if content_length.isdigit() and (len(content_length) > 18 or int(content_length) > self._share.limit_bytes):
            raise BodyTooLarge(self._share.limit_bytes)

    def hold(self, place: Place) -> None:
        """Keep `place` too, which `end` was given for, until `release`; it waits while the body is waited for."""
        self._places.append(place)

    def release(self) -> None:
        for place in self._places:
            place.release()

    def end(self) -> None:
        """Others need what the request holds."""
        if self._timer is not None:
            self._timer.reschedule(asyncio.get_running_loop().time())

    async def receive(self) -> Message:
        """ASGI's `receive`. Raises `BodyTooLarge`, `Overloaded`, `DeadlineExceeded` for a sender that is too slow, and
        `Cancelled` for one that has gone: no defect, and nothing that an operator should be called for."""
        if self._complete:
            return await self._receive()  # This one waits until the client goes.
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise Cancelled("the caller has gone before its body was complete")
        if message["type"] == "http.request":
            size_bytes = len(message.get("body", b""))
            self._credit_s = min(self._pace.grace_s, self._credit_s + size_bytes / self._pace.least_bytes_per_s)
            self._received_bytes += size_bytes
            self._complete = not message.get("more_body", False)
            if self._received_bytes > self._share.limit_bytes:
                raise BodyTooLarge(self._share.limit_bytes)
            self._places[0].grow(self._received_bytes)
        return message

    async def _next(self) -> Message:
        started_s = time.monotonic()
        for place in self._places:
            place.waits()
        try:
            async with asyncio.timeout(self._credit_s) as self._timer:
                return await self._receive()
        except TimeoutError as error:
            if any(place.ended for place in self._places):
                raise Overloaded(FULL) from error
            pace = self._pace
            raise DeadlineExceeded(
                f"the body came at less than {pace.least_bytes_per_s:g} bytes a second, or not at all, for {pace.grace_s:g} s"
            ) from error
        finally:
            self._timer = None
            for place in self._places:
                place.goes_on()
            self._credit_s -= time.monotonic() - started_s
