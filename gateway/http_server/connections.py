"""What a slow or silent peer may cost: uvicorn's protocol with deadlines and a bound on connections. Made by `listeners`.

uvicorn closes a connection that has been idle between two requests, and waits for ever for everything else. Here a peer has
`header_s` to send the head of a request, sends the rest of a body that we have answered already within the same time, and reads
an answer at the least rate. All connections are bounded: where no place is free, the one whose peer has been waited for longest
is closed. The pace of a body that is being read is `edge`'s, who can still answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import h11
from prometheus_client import Counter
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gateway.http_server.errors import error_response
from lookalike.errors import DeadlineExceeded, InvalidArgument, LookalikeError, Overloaded
from lookalike.runtime.places import Place, Places

CLOSED = Counter(
    "lookalike_gateway_http_closed_total",
    "Connections closed on their peers: refused, evicted (both for want of places), head, reader (both too slow), invalid.",
    ("why",),
)
_SWEEPS = 8
"""Looks at every connection in the shortest of the deadlines, so that each is kept within an eighth."""
_LONGEST_SWEEP_S = 1.0
_PIECES_PER_READ = 2000
"""Pieces of a body in one read of the socket (at most 256 KiB). Each takes some 10 us: of one byte each they would hold the
event loop for half a second."""
_LINGER_S = 2.0
"""For a peer to read why it is refused: while bytes of its own are under way, closing would take the answer from it."""
_CONNECTIONS = "every connection that there is place for is in use; try again"


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """What is asked of peers. Times in seconds."""

    connections: int = 1000
    header_s: float = 10.0
    keep_alive_s: float = 75.0
    """Longer than the idle time of common proxies (60 s), so that it is they who close."""
    grace_s: float = 20.0
    least_bytes_per_s: float = 4096.0


class Connections:
    """All connections of one server, used from its event loop."""

    def __init__(self, limits: PeerLimits) -> None:
        self.limits = limits
        # No patience: who opens connections by the thousand would keep others out for as long as it lasts.
        self.places = Places(limits.connections, _CONNECTIONS, patience_s=0.0)
        self.open: set[_Protocol] = set()
        self.logger = logging.getLogger(f"{__name__}.peers")
        self.logger.setLevel(logging.ERROR)  # what peers do wrong is counted; it must not fill the log

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """uvicorn's factory of a protocol for one connection."""
        return _Protocol(self, config, server_state, app_state, _loop)

    async def watch(self) -> None:
        """Close what is overdue; until cancelled."""
        shortest_s = min(self.limits.header_s, self.limits.grace_s)
        while True:
            await asyncio.sleep(min(shortest_s / _SWEEPS, _LONGEST_SWEEP_S))
            now_s = time.monotonic()
            for connection in list(self.open):
                connection.look(now_s)


class _Parser(h11.Connection):
    """h11 that refuses a body in crumbs."""

    def __init__(self, limit_bytes: int | None) -> None:
        super().__init__(h11.SERVER, **({} if limit_bytes is None else {"max_incomplete_event_size": limit_bytes}))
        self._pieces = 0

    def receive_data(self, data: bytes) -> None:
        self._pieces = 0
        super().receive_data(data)

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._pieces += 1
            if self._pieces > _PIECES_PER_READ:
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        return event


class _Protocol(H11Protocol):
    """A connection. `look` closes it where it is overdue."""

    def __init__(
        self,
        all_of_them: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self.conn = _Parser(config.h11_max_incomplete_event_size)
        self._all, self._limits, self.logger = all_of_them, all_of_them.limits, all_of_them.logger
        self._refused = False
        self._place: Place | None = None
        self._head_by_s: float | None = None
        """When the peer must have sent a whole head; None while a request is under way, or none has begun to come."""
        self._read_by_s: float | None = None
        """When the peer must have read what lies in the buffer; None where nothing does."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all.open.add(self)
        self._head_by_s = time.monotonic() + self._limits.header_s
        try:
            self._place = self._all.places.take(self._evict)
        except Overloaded as error:
            CLOSED.labels("refused").inc()
            self._refuse(error, 503)
        else:
            self._place.waits()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.open.discard(self)
        if self._place is not None:
            self._place.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        if self._head_by_s is None and not self._under_way:
            self._head_by_s = time.monotonic() + self._limits.header_s
        super().data_received(data)
        if self._under_way:
            self._head_by_s = None
        self._whose_turn()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Part of the next request has arrived, or the rest of a body that was answered before its end is still to arrive.
        if not self._under_way and (self.conn.their_state is not h11.IDLE or self.conn.trailing_data[0]):
            self._head_by_s = time.monotonic() + self._limits.header_s
        else:
            self._head_by_s = None
        self._whose_turn()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_by_s = self._readable_by_s(time.monotonic())
        self._whose_turn()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_by_s = None
        self._whose_turn()

    def look(self, now_s: float) -> None:
        """Close the connection where its peer is overdue at `now_s` of the monotonic clock."""
        if not self.transport.get_write_buffer_size():
            self._read_by_s = None
        elif self._read_by_s is None:
            self._read_by_s = self._readable_by_s(now_s)
        elif now_s > self._read_by_s:
            CLOSED.labels("reader").inc()
            self.transport.abort()  # `close` would wait until all is read
            return
        if self._head_by_s is None or now_s <= self._head_by_s or self.transport.is_closing():
            return
        if self._refused:
            self.transport.abort()
        else:
            CLOSED.labels("head").inc()
            self._refuse(DeadlineExceeded(f"no whole request came within {self._limits.header_s:g} s"), 408)

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, in our shape."""
        CLOSED.labels("invalid").inc()
        self._refuse(InvalidArgument("request", f"is not valid HTTP: {msg.rstrip('.').lower()}"), 400)

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: a caller could fill the log. The request is answered as if it had not asked for an upgrade."""

    @property
    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _readable_by_s(self, now_s: float) -> float:
        return now_s + self._limits.grace_s + self.transport.get_write_buffer_size() / self._limits.least_bytes_per_s

    def _whose_turn(self) -> None:
        if self._place is None:
            return
        if not self._under_way or (self.cycle.more_body and not self.flow.read_paused) or self.flow.write_paused:
            self._place.waits()
        else:
            self._place.goes_on()

    def _evict(self) -> None:
        CLOSED.labels("evicted").inc()
        self.transport.abort()

    def _refuse(self, error: LookalikeError, code: int) -> None:
        """Answer, where that is still possible, a request that no application sees, and take no more."""
        self._refused = True
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = error_response(error, code)
            headers = [*answer.raw_headers, (b"connection", b"close")]
            for event in (h11.Response(status_code=code, headers=headers), h11.Data(bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            if self._under_way:
                self.cycle.response_complete = True
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        if len(self._all.open) > self._limits.connections * 5 // 4:
            self.transport.close()
        else:
            self.transport.write_eof()
            self._head_by_s = time.monotonic() + min(_LINGER_S, self._limits.header_s)
