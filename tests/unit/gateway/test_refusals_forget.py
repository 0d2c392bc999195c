"""A refused request is let go with its answer, and does not wait for Python's collector: it may be of 32 MiB."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType

import grpc
import grpc.aio
import pytest

from gateway.listeners import build_grpc
from tests.unit.gateway.gateway_at_limits import build_core
from tests.unit.gateway.http_app import SEARCH, ask

LARGE = 1_000_000


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held_by_frames() -> list[str]:
    """The functions that have ended and still hold a large value."""
    frames = [found for found in gc.get_objects() if isinstance(found, FrameType)]
    return [
        f"{frame.f_code.co_qualname}: {name}"
        for frame in frames
        for name, value in frame.f_locals.items()
        if isinstance(value, bytes | bytearray | memoryview) and len(value) > LARGE and frame.f_code.co_name != "sent"
    ]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("method", "content"),
    [
        ("CollectionService/GetCollection", b"\x0a\x80\x80\x80\x01" + b"n" * 2**21),
        ("CollectionService/GetCollection", b"\xff" * 2 * LARGE),
        ("SearchService/Search", b"\x0a\x06things\x12\x80\x89\x7a" + b"p" * 2_000_000 + b"\x30\x00"),
    ],
    ids=["over its bound", "no message", "a picture, and a top_k of 0"],
)
def test_what_grpc_refuses_is_let_go(method: str, content: bytes) -> None:
    def sent(target: str) -> grpc.StatusCode:
        with grpc.insecure_channel(target) as channel:
            try:
                channel.unary_unary(f"/lookalike.v1.{method}")(content, timeout=20)  # type: ignore[arg-type]
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    assert asyncio.run(_with_server(lambda target: asyncio.to_thread(sent, target))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        [],
    )


async def _with_server(call: Callable[[str], Awaitable[grpc.StatusCode]]) -> tuple[grpc.StatusCode, list[str]]:
    server = await build_grpc(build_core(), "127.0.0.1:0")
    await server.start()
    try:
        code = await call(f"127.0.0.1:{server.port}")
        return code, held_by_frames()
    finally:
        await server.stop(0)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("path", [SEARCH, "/v1/collections"])
@pytest.mark.parametrize("start", [b"[", b"x", b'{"name": "things", "a": "'])
def test_what_http_refuses_is_let_go(path: str, start: bytes) -> None:
    def sent() -> int:
        content = start + b"[" * 2 * LARGE
        return ask("POST", path, content=content, headers={"content-type": "application/json"}).status_code

    assert sent() in (400, 413)
    assert held_by_frames() == []


def test_what_a_frame_holds_is_seen() -> None:
    def refuse(content: bytes) -> None:
        raise ValueError(len(content))

    with pytest.raises(ValueError, match="2000000") as raised:
        refuse(b"x" * 2 * LARGE)
    assert any("refuse: content" in held for held in held_by_frames()), raised
