"""An embedder without models that dies of pictures that start with `poison`, and is started again at once, as a process.

    python -m tests.servers.dying_embedder PORT FILE

FILE gets an `s` for every start and a `d` for every death. A picture's vectors are those of `tests.unit.indexer.fakes`. What
dies is a child that is forked before it uses gRPC, so that it takes milliseconds, not seconds, to be back.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from lookalike.runtime.server import Servicer, build_server
from lookalike.v1 import embedder_service_pb2 as pb
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from lookalike.wire.spaces import space_message
from tests.servers import processes
from tests.unit.indexer.fakes import SPACES, vector_of

POISON = b"poison"
_PR_SET_PDEATHSIG = 1


class _Service(rpc.EmbedderServiceServicer):
    def Embed(self, request: pb.EmbedRequest, context: grpc.ServicerContext) -> pb.EmbedResponse:
        _die_of(*request.images)
        asked = [space.spec.name for space in request.spaces]
        spaces = [space for space in SPACES if space.name in asked]
        results = [
            pb.EmbedResult(vectors=[vector_of(image, space).astype("<f4").tobytes() for space in spaces])
            for image in request.images
        ]
        return pb.EmbedResponse(spaces=map(space_message, spaces), results=results)

    def MakeThumbnail(self, request: pb.MakeThumbnailRequest, context: grpc.ServicerContext) -> pb.MakeThumbnailResponse:
        _die_of(request.image)
        return pb.MakeThumbnailResponse(jpeg=b"jpeg of " + request.image)


def _die_of(*images: bytes) -> None:
    if any(image.startswith(POISON) for image in images):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DyingEmbedder:
    target: str
    lives: Path

    @property
    def deaths(self) -> int:
        return self.lives.read_bytes().count(b"d")


@contextmanager
def dying_embedder(folder: Path) -> Iterator[DyingEmbedder]:
    """An embedder that runs until the block ends."""
    port, lives = processes.free_port(), folder / "lives"
    lives.touch()
    command = [sys.executable, "-m", "tests.servers.dying_embedder", str(port), str(lives)]
    process = processes.start(command, folder / "dying_embedder.log")
    try:
        processes.until(lambda: lives.stat().st_size, "the embedder has started")
        yield DyingEmbedder(f"127.0.0.1:{port}", lives)
    finally:
        processes.kill(process)


def main(port: int, lives: Path) -> None:
    parent = os.getpid()
    while True:
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == parent:
                _serve(port, lives)
            os._exit(1)
        os.wait()
        _note(lives, b"d")


def _serve(port: int, lives: Path) -> None:
    servicer = Servicer(rpc.add_EmbedderServiceServicer_to_server, _Service(), "lookalike.v1.EmbedderService")
    server = build_server([servicer], address=f"127.0.0.1:{port}", threads=8, max_concurrent=8)
    server.start()
    server.set_ready(True)
    _note(lives, b"s")
    server.wait()


def _note(lives: Path, what: bytes) -> None:
    with lives.open("ab") as file:
        file.write(what)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
