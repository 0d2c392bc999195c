"""Calls that wait for a thread are counted before any of our code has seen them."""

from __future__ import annotations

import threading

import grpc

from lookalike.runtime.server import Servicer, build_server
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from tests.servers.processes import until

NAME = messages.DESCRIPTOR.services_by_name["EmbedderService"].full_name


class Held(rpc.EmbedderServiceServicer):
    def __init__(self) -> None:
        self.free = threading.Event()

    def ListModels(self, request: messages.ListModelsRequest, context: grpc.ServicerContext) -> messages.ListModelsResponse:
        self.free.wait(30)
        return messages.ListModelsResponse()


def test_calls_are_counted_from_their_arrival_to_their_answer() -> None:
    held = Held()
    server = build_server(
        [Servicer(rpc.add_EmbedderServiceServicer_to_server, held, NAME)], address="127.0.0.1:0", threads=1, max_concurrent=100
    )
    other = build_server([], address="127.0.0.1:0", threads=1, max_concurrent=1)
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = rpc.EmbedderServiceStub(channel)
            calls = [stub.ListModels.future(messages.ListModelsRequest()) for _ in range(20)]
            until(lambda: server.unanswered() == 20, "all calls have arrived")
            assert other.unanswered() == 0
            held.free.set()
            for call in calls:
                call.result(30)
            until(lambda: server.unanswered() == 0, "all calls are answered")
    finally:
        held.free.set()
        server.stop(1.0)
        other.stop(1.0)
