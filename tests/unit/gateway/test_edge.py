"""What the outermost layer of HTTP bounds: the bytes held by all requests together, silence, and the values of labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from gateway.http.edge import Bodies, Edge

LIMIT = 100


async def _length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def edge(bodies: Bodies | None = None, **options: float) -> Edge:
    return Edge(_length_of_body, lambda _path: LIMIT, bodies or Bodies(LIMIT), **options)


def client(app: Edge) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080")


@pytest.mark.parametrize("told", [True, False])
def test_bodies_beyond_what_all_may_hold_together_are_refused_until_others_are_answered(told):
    bodies = Bodies(LIMIT)

    async def run() -> list[httpx.Response]:
        first_is_in, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 60
            first_is_in.set()
            await go_on.wait()

        async with client(edge(bodies)) as http:
            first = asyncio.create_task(http.post("/", content=slow()))
            await first_is_in.wait()
            second = {"content": b"x" * 60} if told else {"content": _in_parts(60)}
            answers = [await http.post("/", **second), await http.post("/", content=b"x" * 40)]
            go_on.set()
            return [*answers, await first, await http.post("/", content=b"x" * 100)]

    refused, small, first, after = asyncio.run(run())
    assert (refused.status_code, refused.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert int(refused.headers["retry-after"]) >= 1
    assert [small.text, first.text, after.text] == ["40", "60", "100"]
    assert bodies.held_bytes == 0


def test_a_body_of_which_nothing_comes_is_given_up_and_its_room_is_free_again():
    bodies = Bodies(LIMIT)

    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async def run() -> httpx.Response:
        async with client(edge(bodies, idle_s=0.02)) as http:
            return await http.post("/", content=silent(), headers={"content-length": "50"})

    response = asyncio.run(run())
    assert (response.status_code, response.json()["error"]["status"]) == (504, "DEADLINE_EXCEEDED")
    assert bodies.held_bytes == 0


def test_a_complete_body_s_answer_may_take_longer_than_silence_may():
    async def slow_to_answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        waiting = asyncio.ensure_future(receive())  # as a stream waits for its client to go
        await asyncio.wait([waiting], timeout=0.1)
        waiting.cancel()
        await PlainTextResponse(str(waiting.done()))(scope, receive, send)

    async def run() -> httpx.Response:
        async with client(Edge(slow_to_answer, lambda _path: LIMIT, Bodies(LIMIT), idle_s=0.01)) as http:
            return await http.post("/", content=b"x")

    assert asyncio.run(run()).text == "False"


def counted(code: int) -> float:
    labels = {"route": "unknown", "method": "POST", "code": str(code)}
    return REGISTRY.get_sample_value("lookalike_gateway_http_seconds_count", labels) or 0.0


POST: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}


def test_a_caller_that_goes_before_its_body_is_complete_is_no_error_of_the_service():
    sent: list[Message] = []
    coming: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    gone, failed, bodies = counted(499), counted(500), Bodies(LIMIT)
    with capture_logs() as logs:
        asyncio.run(edge(bodies)(POST, receive, send))
    assert (counted(499), counted(500), bodies.held_bytes) == (gone + 1, failed, 0)
    assert sent[0]["status"] == 499
    assert logs == []


def test_a_request_that_the_end_of_the_server_cuts_off_is_told_to_come_again():
    sent: list[Message] = []

    async def run() -> None:
        waiting = asyncio.Event()

        async def receive() -> Message:
            waiting.set()
            return await asyncio.get_running_loop().create_future()

        async def send(message: Message) -> None:
            sent.append(message)

        request = asyncio.ensure_future(edge()(POST, receive, send))
        await waiting.wait()
        request.cancel()
        await request

    refused, failed = counted(503), counted(500)
    asyncio.run(run())
    assert sent[0]["status"] == 503
    assert (counted(503), counted(500)) == (refused + 1, failed)


def test_methods_that_clients_invent_make_no_label_of_their_own():
    async def run() -> None:
        async with client(edge()) as http:
            for method in ("BREW", "PROPFIND", "GET"):
                await http.request(method, "/nowhere")

    asyncio.run(run())
    (metric,) = [found for found in REGISTRY.collect() if found.name == "lookalike_gateway_http_seconds"]
    methods = {sample.labels["method"] for sample in metric.samples}
    assert {"GET", "OTHER"} <= methods
    assert not {"BREW", "PROPFIND"} & methods
    routes = {sample.labels["route"] for sample in metric.samples}
    assert "/nowhere" not in routes


async def _in_parts(size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(size_bytes):
        yield b"x"
