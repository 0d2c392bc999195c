"""Calls that wait for a thread are counted before any of our code has seen them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from lookalike.runtime.arrivals import Arrivals
from lookalike.runtime.server import Servicer, build_server
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from tests.servers.processes import until

NAME = messages.DESCRIPTOR.services_by_name["EmbedderService"].full_name


class Held(rpc.EmbedderServiceServicer):
    def __init__(self) -> None:
        self.free, self.entered = threading.Event(), 0

    def ListModels(self, request: messages.ListModelsRequest, context: grpc.ServicerContext) -> messages.ListModelsResponse:
        self.entered += 1
        self.free.wait(30)
        return messages.ListModelsResponse()


@contextmanager
def twenty_calls(port: int, held: Held) -> Iterator[None]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rpc.EmbedderServiceStub(channel)
        calls = [stub.ListModels.future(messages.ListModelsRequest()) for _ in range(20)]
        try:
            yield
        finally:
            held.free.set()
        for call in calls:
            call.result(30)


def test_calls_are_counted_from_their_arrival_to_their_answer() -> None:
    held = Held()
    server = grpc.server(ThreadPoolExecutor(1))
    arrivals = Arrivals()
    rpc.add_EmbedderServiceServicer_to_server(held, server)
    port = server.add_insecure_port("127.0.0.1:0")
    other = grpc.server(ThreadPoolExecutor(1))
    of_other = Arrivals()
    server.start()
    try:
        with twenty_calls(port, held):
            until(lambda: arrivals.unanswered() == 20, "all calls have arrived, of which the one thread has one")
            assert of_other.unanswered() == 0
        until(lambda: arrivals.unanswered() == 0, "all calls are answered")
    finally:
        server.stop(1.0)
        other.stop(1.0)


def test_calls_that_a_handler_has_are_not_at_the_door() -> None:
    held = Held()
    server = build_server(
        [Servicer(rpc.add_EmbedderServiceServicer_to_server, held, NAME)], address="127.0.0.1:0", threads=1, max_concurrent=100
    )
    server.start()
    try:
        with twenty_calls(server.port, held):
            until(lambda: held.entered == 20, "a handler has each of them")
            assert server.at_the_door() == 0
    finally:
        server.stop(1.0)
