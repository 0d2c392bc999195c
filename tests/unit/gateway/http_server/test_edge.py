"""What the outermost layer of HTTP bounds: the bytes held by all requests together, silence, and the values of labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import structlog
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from gateway.http_server.bodies import FULL, Pace, Share
from gateway.http_server.edge import Edge
from lookalike.runtime.places import Places
from tests.unit.gateway.http_app import shared

LIMIT = 100


async def _length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def room(limit: int = LIMIT) -> Places:
    return Places(limit, FULL, patience_s=0.01)


def edge(bodies: Places | None = None, app: ASGIApp = _length_of_body, streams: int = 9, pace: Pace = Pace()) -> Edge:  # noqa: B008
    share = Share(LIMIT, bodies or room())
    places = Places(streams, "no stream is free", patience_s=0.01)
    return Edge(app, lambda _path: share, places, lambda path: path.endswith((":watch", ":batch")), pace=pace)


def client(app: Edge) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8080")


@pytest.mark.parametrize("announced", [True, False])
def test_bodies_beyond_what_all_may_hold_together_are_refused_until_others_are_answered(announced: bool) -> None:
    bodies = room()

    async def run() -> list[httpx.Response]:
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def at_work(scope: Scope, receive: Receive, send: Send) -> None:
            body = await Request(scope, receive).body()
            if len(body) == 61:
                arrived.set()
                await go_on.wait()
            await PlainTextResponse(str(len(body)))(scope, receive, send)

        async with client(edge(bodies, at_work)) as http:
            first = asyncio.create_task(http.post("/", content=b"x" * 61))
            await arrived.wait()
            second = {"content": b"x" * 60} if announced else {"content": _in_parts(60)}
            answers = [await http.post("/", **second), await http.post("/", content=b"x" * 39)]
            go_on.set()
            return [*answers, await first, await http.post("/", content=b"x" * 100)]

    refused, small, first, after = asyncio.run(run())
    assert (refused.status_code, refused.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert int(refused.headers["retry-after"]) >= 1
    assert [small.text, first.text, after.text] == ["39", "61", "100"]
    assert bodies.held == 0


def test_a_length_that_is_announced_takes_no_room() -> None:
    bodies = room()

    async def run() -> list[httpx.Response]:
        async with client(edge(bodies)) as http:
            silent = [http.post("/", content=_silent(1), headers={"content-length": "100"}) for _ in range(2)]
            tasks = [asyncio.create_task(request) for request in silent]
            await _until(lambda: bodies.held == 2)
            answers = [await http.post("/", content=b"x" * 98) for _ in range(2)]
            for task in tasks:
                task.cancel()
            return answers

    assert [response.text for response in asyncio.run(run())] == ["98", "98"]


def test_what_a_silent_sender_holds_makes_room_for_those_who_send() -> None:
    bodies = room()

    async def run() -> tuple[int, httpx.Response]:
        async with client(edge(bodies)) as http:
            silent = asyncio.create_task(http.post("/", content=_silent(60), headers={"content-length": "100"}))
            await _until(lambda: bodies.held == 60)
            while (answer := await http.post("/", content=b"x" * 90)).status_code == 429:
                await asyncio.sleep(0.001)  # its patience is not over
            return answer.status_code, await silent

    taken, silent = asyncio.run(run())
    assert (taken, silent.status_code, bodies.held) == (200, 429, 0)


def test_a_body_that_is_too_slow_is_given_up_and_its_room_is_free_again() -> None:
    bodies = room()

    async def trickling() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.005)

    async def run() -> list[httpx.Response]:
        async with client(edge(bodies, pace=Pace(0.02, 1000))) as http:
            headers = {"content-length": "100"}
            return [await http.post("/", content=content(), headers=headers) for content in (trickling, lambda: _silent(60))]

    for response in asyncio.run(run()):
        error = response.json()["error"]
        assert (response.status_code, error["status"]) == (504, "DEADLINE_EXCEEDED")
        assert "1000 bytes a second" in error["message"]
    assert bodies.held == 0


def test_a_sender_that_keeps_the_pace_may_take_longer_than_any_pause() -> None:
    async def steady() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 10
            await asyncio.sleep(0.05)

    async def run() -> httpx.Response:
        async with client(edge(pace=Pace(0.4, 50))) as http:
            return await http.post("/", content=steady())

    assert asyncio.run(run()).text == "100"


def test_time_in_which_the_body_is_not_asked_for_is_not_the_sender_s() -> None:
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        for _ in range(2):
            size += len((await receive())["body"])
            await asyncio.sleep(0.05)
        await PlainTextResponse(str(size))(scope, receive, send)

    async def run() -> httpx.Response:
        async with client(edge(app=busy, pace=Pace(0.03, 1e6))) as http:
            return await http.post("/", content=_in_parts(2))

    assert asyncio.run(run()).text == "2"


def test_answers_that_go_on_for_long_are_bounded_apart_from_all_others() -> None:
    async def run() -> list[httpx.Response]:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def long(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"].endswith(":watch"):
                begun.set()
                await go_on.wait()
            await _length_of_body(scope, receive, send)

        async with client(edge(app=long, streams=1)) as http:
            first = asyncio.create_task(http.get("/v1/ingest-jobs/a:watch"))
            await begun.wait()
            batch = "/v1/collections/things/search:batch"
            answers = [await http.get("/v1/ingest-jobs/b:watch"), await http.post(batch, content=b"x"), await http.get("/v1/x")]
            go_on.set()
            await first
            return [*answers, await http.post(batch, content=b"x")]

    watch, batch, other, after = asyncio.run(run())
    assert [watch.status_code, batch.status_code, other.status_code, after.status_code] == [429, 429, 200, 200]


def test_a_batch_whose_queries_do_not_come_leaves_its_place_to_others() -> None:
    async def run() -> tuple[int, httpx.Response]:
        bodies = room()
        async with client(edge(bodies, streams=1)) as http:
            path = "/v1/collections/things/search:batch"
            silent = asyncio.create_task(http.post(path, content=_silent(1)))
            await _until(lambda: bodies.held == 1)
            while (answer := await http.post(path, content=b"x")).status_code == 429:
                await asyncio.sleep(0.001)  # its patience is not over
            return answer.status_code, await silent

    taken, silent = asyncio.run(run())
    assert (taken, silent.status_code) == (200, 429)


def test_a_complete_body_s_answer_may_take_longer_than_silence_may() -> None:
    async def slow_to_answer(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        waiting = asyncio.ensure_future(receive())  # as a stream waits for its client to go
        await asyncio.wait([waiting], timeout=0.1)
        waiting.cancel()
        await PlainTextResponse(str(waiting.done()))(scope, receive, send)

    async def run() -> httpx.Response:
        async with client(edge(app=slow_to_answer, pace=Pace(0.01, 1))) as http:
            return await http.post("/", content=b"x")

    assert asyncio.run(run()).text == "False"


def counted(code: int) -> float:
    labels = {"route": "unknown", "method": "POST", "code": str(code)}
    return REGISTRY.get_sample_value("lookalike_gateway_http_requests_total", labels) or 0.0


POST: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}


def test_a_caller_that_goes_before_its_body_is_complete_is_no_error_of_the_service() -> None:
    sent: list[Message] = []
    coming: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    gone, failed, bodies = counted(499), counted(500), room()
    with capture_logs() as logs:
        asyncio.run(edge(bodies)(POST, receive, send))
    assert (counted(499), counted(500), bodies.held) == (gone + 1, failed, 0)
    assert sent[0]["status"] == 499
    assert logs == []


def test_a_request_that_the_end_of_the_server_cuts_off_is_asked_to_come_again() -> None:
    sent: list[Message] = []

    async def run() -> None:
        waiting = asyncio.Event()

        async def receive() -> Message:
            waiting.set()
            never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            return await never

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


def test_methods_that_clients_invent_make_no_label_of_their_own() -> None:
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


def test_codes_and_methods_that_callers_provoke_multiply_no_buckets() -> None:
    async def run() -> None:
        for method in ("GET", "PUT", "PATCH", "DELETE", "POST"):
            await ask_in_loop(method)

    async def ask_in_loop(method: str) -> None:
        transport = httpx.ASGITransport(shared())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await http.request(method, "/v1/collections/things/search")

    asyncio.run(run())
    metrics = {found.name: found.samples for found in REGISTRY.collect()}
    assert all("code" not in sample.labels for sample in metrics["lookalike_gateway_http_seconds"])
    route = "/v1/collections/{collection}/search"
    requests = [sample.labels for sample in metrics["lookalike_gateway_http_requests"] if sample.labels["route"] == route]
    methods = {labels["method"] for labels in requests}
    assert {"POST", "OTHER"} <= methods
    assert not {"GET", "PUT", "PATCH", "DELETE"} & methods


async def _in_parts(size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(size_bytes):
        yield b"x"


async def _silent(size_bytes: int) -> AsyncIterator[bytes]:
    yield b"x" * size_bytes
    await asyncio.Event().wait()


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_an_answer_carries_the_id_of_its_request_which_each_line_of_its_log_does_too() -> None:
    async def logs(scope: Scope, receive: Receive, send: Send) -> None:
        structlog.get_logger().info("at work")
        if scope["path"] == "/broken":
            raise ValueError("a defect")
        await PlainTextResponse("done")(scope, receive, send)

    async def run() -> list[httpx.Response]:
        async with client(edge(app=logs)) as http:
            own = {"X-Request-Id": "shop-41"}
            requests = [("/", own), ("/", {}), ("/", {"X-Request-Id": "not plain"}), ("/broken", own)]
            return [await http.get(path, headers=headers) for path, headers in requests]

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        answers = asyncio.run(run())
    own, made, replaced, broken = (answer.headers["x-request-id"] for answer in answers)
    assert (own, broken) == ("shop-41", "shop-41")
    assert len({own, made, replaced, "not plain"}) == 4
    assert [line["request_id"] for line in lines if line["event"] == "at work"] == [own, made, replaced, broken]
    assert [line["request_id"] for line in lines if line["event"] == "defect"] == [broken]
