"""What slow and silent peers of HTTP may cost, tried over real sockets with short times."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from gateway.http_server.connections import PeerLimits
from gateway.listeners import HttpServer

T = TypeVar("T")
ASK = b"GET /answer HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASK_AND_CLOSE = ASK[:-2] + b"Connection: close\r\n\r\n"
HEADER_S, GRACE_S = 0.4, 0.3
LIMITS = PeerLimits(connections=4000, header_s=HEADER_S, keep_alive_s=5.0, grace_s=GRACE_S, least_bytes_per_s=1e8)
LARGE = 16 * 1024 * 1024
"""Above what two sockets hold in the kernel."""


class App:
    """Answers `/answer` at once, `/large` with `LARGE` bytes, `/length` with the body's, `/wait` when `go_on` is set."""

    def __init__(self) -> None:
        self.go_on, self.begun = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = "answer"
        if scope["path"] == "/large":
            text = "x" * LARGE
        elif scope["path"] == "/length":
            text = str(len(await Request(scope, receive).body()))
        elif scope["path"] == "/wait":
            self.begun.set()
            await self.go_on.wait()
        await PlainTextResponse(text)(scope, receive, send)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Peer:
    """A server on loopback, and connections to it that are closed at the end."""

    def __init__(self, server: HttpServer, app: App) -> None:
        self._server, self.app = server, app
        self._opened: list[asyncio.StreamWriter] = []

    async def send(self, content: bytes, *, limit: int = 64 * 1024) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server.port, limit=limit)
        self._opened.append(writer)
        writer.write(content)
        return reader, writer

    async def answer(self, content: bytes = ASK) -> bytes:
        """All that comes until the peer would have to send more."""
        reader, _ = await self.send(content)
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return head + await reader.readexactly(size)

    def close(self) -> None:
        for writer in self._opened:
            writer.transport.abort()


@asynccontextmanager
async def serving(limits: PeerLimits) -> AsyncIterator[Peer]:
    app = App()
    server = HttpServer(app, "127.0.0.1:0", limits)
    await server.start()
    peer = Peer(server, app)
    try:
        yield peer
    finally:
        app.go_on.set()
        peer.close()
        await server.stop(1.0)


def against(talk: Callable[[Peer], Awaitable[T]], limits: PeerLimits = LIMITS) -> T:
    async def run() -> T:
        async with serving(limits) as peer, asyncio.timeout(20):
            return await talk(peer)

    return asyncio.run(run())


async def rest(streams: Streams) -> bytes:
    """What comes until the other end closes; b"" after a reset."""
    try:
        return await streams[0].read(-1)
    except ConnectionResetError:
        return b""


def error_of(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_connections_with_half_a_request_line_are_closed_in_time_and_others_are_answered_meanwhile() -> None:
    count = 400

    async def talk(peer: Peer) -> tuple[list[bytes], bytes]:
        halves = await asyncio.gather(*(peer.send(b"GET /ans") for _ in range(count)))
        meanwhile = await peer.answer()
        return await asyncio.gather(*map(rest, halves)), meanwhile

    closed, meanwhile = against(talk)
    assert meanwhile.endswith(b"answer")
    assert {error_of(answer)[0] for answer in closed} == {408}
    assert len(closed) == count


def test_a_head_that_trickles_is_no_better_than_half_of_one() -> None:
    async def talk(peer: Peer) -> tuple[float, bytes]:
        started_s = time.monotonic()
        streams = await peer.send(b"GET / HTTP/1.1\r\n")
        closing = asyncio.ensure_future(rest(streams))
        while not closing.done():
            streams[1].write(b"a: b\r\n")
            await asyncio.wait([closing], timeout=HEADER_S / 20)
        return time.monotonic() - started_s, closing.result()

    took_s, _answer = against(talk)
    assert took_s >= HEADER_S


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word() -> None:
    async def talk(peer: Peer) -> bytes:
        return await rest(await peer.send(b""))

    assert error_of(against(talk))[0] == 408


def test_where_every_connection_is_in_use_the_longest_silent_one_makes_room() -> None:
    limits = PeerLimits(connections=8, header_s=10.0, keep_alive_s=5.0, grace_s=GRACE_S)

    async def talk(peer: Peer) -> int:
        for content in (b"", b"GET", b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"):
            for _ in range(3):
                await peer.send(content)
        return sum([(await rest(await peer.send(ASK_AND_CLOSE))).endswith(b"answer") for _ in range(20)])

    assert against(talk, limits) == 20


def test_where_every_connection_is_at_work_others_are_asked_to_come_again() -> None:
    limits = PeerLimits(connections=1, header_s=HEADER_S, keep_alive_s=5.0, grace_s=GRACE_S)

    async def talk(peer: Peer) -> bytes:
        await peer.send(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await peer.app.begun.wait()
        return await rest(await peer.send(b""))

    answer = against(talk, limits)
    code, error = error_of(answer)
    assert (code, error["status"]) == (503, "RESOURCE_EXHAUSTED")
    assert b"retry-after: 1" in answer.lower()


def closed_on_readers() -> float:
    return REGISTRY.get_sample_value("lookalike_gateway_http_closed_total", {"why": "reader"}) or 0.0


def test_an_answer_that_nobody_reads_is_not_kept_for_ever() -> None:
    async def talk(peer: Peer) -> int:
        before = closed_on_readers()
        streams = await peer.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", limit=1024)
        while closed_on_readers() == before:
            await asyncio.sleep(0.01)
        return len(await rest(streams))

    assert against(talk) < LARGE


def test_an_answer_that_is_read_slowly_but_steadily_comes_whole() -> None:
    async def talk(peer: Peer) -> int:
        reader, _ = await peer.send(b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", limit=64 * 1024)
        size, started_s = 0, time.monotonic()
        while piece := await reader.read(LARGE // 32):
            size += len(piece)
            if time.monotonic() - started_s < 2 * GRACE_S:
                await asyncio.sleep(GRACE_S / 100)
        return size

    assert against(talk) > LARGE


def test_a_body_that_was_answered_before_its_end_cannot_go_on_for_ever() -> None:
    async def talk(peer: Peer) -> bytes:
        streams = await peer.send(b"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n")
        closing = asyncio.ensure_future(rest(streams))
        while not closing.done():
            streams[1].write(b"x")
            await asyncio.wait([closing], timeout=HEADER_S / 20)
        return closing.result()

    against(talk)


def test_the_next_request_has_a_time_of_its_own_from_its_first_byte() -> None:
    async def talk(peer: Peer) -> tuple[bytes, bytes]:
        reader, writer = await peer.send(ASK)
        await reader.readuntil(b"\r\n\r\nanswer")
        await asyncio.sleep(1.5 * HEADER_S)  # idle: that is the keep-alive's time
        writer.write(ASK)
        second = await reader.readuntil(b"\r\n\r\nanswer")
        writer.write(b"GET /")
        return second, await rest((reader, writer))

    second, third = against(talk)
    assert second.startswith(b"HTTP/1.1 200")
    assert error_of(third)[0] == 408


def test_requests_that_come_in_one_go_are_answered_in_order_and_half_of_one_after_them_has_its_time() -> None:
    async def talk(peer: Peer) -> bytes:
        return await rest(await peer.send(3 * ASK + ASK[:9]))

    answers = against(talk)
    assert answers.count(b"HTTP/1.1 200") == 3
    assert b"HTTP/1.1 408" in answers


def test_a_body_in_crumbs_does_not_hold_the_event_loop() -> None:
    async def talk(peer: Peer) -> tuple[int, Any]:
        head = b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        return error_of(await rest(await peer.send(head + b"1\r\nx\r\n" * 200_000)))

    code, error = against(talk)
    assert (code, error["status"]) == (400, "INVALID_ARGUMENT")


def test_a_body_in_chunks_of_a_common_size_arrives() -> None:
    async def talk(peer: Peer) -> bytes:
        head = b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        return await peer.answer(head + (b"200\r\n" + b"x" * 512 + b"\r\n") * 2000 + b"0\r\n\r\n")

    assert against(talk).endswith(b"1024000")


def test_what_is_no_http_is_answered_in_the_one_shape() -> None:
    async def talk(peer: Peer) -> list[bytes]:
        two_hosts = ASK[:-2] + b"Host: localhost\r\n\r\n"
        return [
            await rest(await peer.send(content)) for content in (b"\x16\x03\x01\r\n\r\n", two_hosts, ASK[:20] + b"\r\n\r\n")
        ]

    for answer in against(talk):
        code, error = error_of(answer)
        assert (code, error["field"]) == (400, "request")
        assert "not valid HTTP" in error["message"]


def test_old_and_unusual_ways_to_ask_are_answered() -> None:
    async def talk(peer: Peer) -> tuple[bytes, bytes, bytes]:
        old = await rest(await peer.send(b"GET /answer HTTP/1.0\r\n\r\n"))
        upgrade = ASK[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        with capture_logs() as logs:
            upgraded = await peer.answer(upgrade)
        assert logs == []
        head = b"POST /length HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        reader, writer = await peer.send(head)
        await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(b"abc")
        return old, upgraded, await reader.readuntil(b"\r\n\r\n3")

    for answer in against(talk):
        assert answer.startswith(b"HTTP/1.1 200")
