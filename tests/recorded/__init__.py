"""What the last release sent and stored, recorded as bytes (`record`), with which this release is tested.

VERSION            of the release
calls.json         every call of gateway and indexer to the embedder, and its answer
jobs/keys.json     the keys of Redis: the ledger of three jobs, and the messages of Celery for these and for a fourth
jobs/artifacts/    the files of these jobs

A test of either side plays the other: an embedder gets recorded requests (tests/contract/test_embedder.py), gateway and indexer
get recorded answers (tests/unit/gateway/backends/test_recorded_embedder.py), a worker goes on with the recorded jobs
(tests/unit/indexer/test_recorded_jobs.py).
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.backends.embedder import Embedder as OfGateway
from indexer.chunk.embedder import Embedder as OfIndexer
from indexer.interruption import Interruption
from lookalike.errors import LookalikeError
from lookalike.jobs.leases import Lease
from lookalike.records.model import Embedding
from lookalike.runtime.call import Deadline
from lookalike.runtime.channels import open_aio_channel, open_channel
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space
from tests.pictures.made_pictures import corners, encoded

FOLDER = Path(__file__).parent / "data"
RELEASED = Path(__file__).resolve().parents[2] / "protos" / "released"
SERVICE = "/lookalike.v1.EmbedderService/"
DETAILS = "grpc-status-details-bin"
MODEL_FINGERPRINT = "5ma11f1n9e4p41n7"
"""Stands for that of the tests' model in what is recorded; it changes with the model, not with the contract."""
_LATER = bytes.fromhex("f8bb04d209 fabb0405") + b"later"
"""Two fields that no release has: number 9,599 a number and a text."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call: who made it, the method's name, the request, and the answer or the status that it ended in (its code, text and
    details)."""

    caller: str
    method: str
    request: bytes
    answer: bytes = b""
    code: int = 0
    text: str = ""
    details: bytes = b""


def write_exchanges(exchanges: Sequence[Exchange], fingerprint: str) -> None:
    """`fingerprint`: of the model that the embedder served."""

    def plain(value: object) -> object:
        known = (fingerprint.encode(), MODEL_FINGERPRINT.encode())
        return base64.b64encode(value.replace(*known)).decode() if isinstance(value, bytes) else value

    rows = [{name: plain(value) for name, value in asdict(one).items()} for one in exchanges]
    text = json.dumps(rows, indent=1).replace(fingerprint, MODEL_FINGERPRINT)
    (FOLDER / "calls.json").write_text(text + "\n", encoding="utf-8")


def read_exchanges(fingerprint: str = MODEL_FINGERPRINT) -> list[Exchange]:
    """In the order of the calls, with `fingerprint` as that of the model."""
    found = []
    for row in json.loads((FOLDER / "calls.json").read_text(encoding="utf-8").replace(MODEL_FINGERPRINT, fingerprint)):
        for name in ("request", "answer", "details"):
            row[name] = base64.b64decode(row[name]).replace(MODEL_FINGERPRINT.encode(), fingerprint.encode())
        found.append(Exchange(**row))
    return found


@functools.cache
def _released_pool() -> DescriptorPool:
    """The contract of the release that was recorded."""
    pool, release = DescriptorPool(), (FOLDER / "VERSION").read_text(encoding="utf-8").strip()
    for file in FileDescriptorSet.FromString((RELEASED / f"{release}.binpb").read_bytes()).file:
        pool.Add(file)
    return pool


def released(kind: str, content: bytes) -> Any:
    """A message as the recorded release reads it, for which all that came later is unknown."""
    message = GetMessageClass(_released_pool().FindMessageTypeByName(f"lookalike.v1.{kind}")).FromString(content)
    message.DiscardUnknownFields()
    return message


def of_later(kind: str, content: bytes) -> bytes:
    """A message as a later release may send it: with fields that no release has, in every message of it."""

    def extend(message: Message) -> None:
        for field, value in message.ListFields():
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for one in value if field.is_repeated else [value]:
                    extend(one)
        message.MergeFromString(_LATER)

    message = released(kind, content)
    extend(message)
    return bytes(message.SerializeToString())


def spaces(fingerprint: str) -> tuple[Space, ...]:
    """A histogram with settings of its own, and a space that the tests' model `small` fills."""
    return (
        HistogramSettings(bins=8, grid=2, color=True).space("tones"),
        Space("siamese", 8, Metric.COSINE, fingerprint, ModelSettings("small")),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What gateway and indexer made of the answers to all of their calls."""

    described: tuple[Space, ...]
    default: tuple[Space, ...]
    embedded: Sequence[Embedding]
    thumbnail: bytes
    refusal: LookalikeError
    in_bulk: Sequence[Embedding]
    described_in_bulk: tuple[Space, ...]


def call_everything(target: str, fingerprint: str) -> Asked:
    """Every call that gateway and indexer make of an embedder, one after the other."""
    pictures, wanted = [encoded(corners()), b"no picture"], spaces(fingerprint)
    specs = [space.spec for space in wanted]

    async def as_gateway() -> tuple[Any, ...]:
        def soon() -> Deadline:
            return Deadline.after(60.0)

        async with open_aio_channel(target) as channel:
            gateway = OfGateway(channel)
            described = await gateway.describe(specs, soon()), await gateway.describe((), soon())
            embedded = await gateway.embed(pictures, wanted, soon())
            thumbnail = await gateway.thumbnail(pictures[0], soon())
            try:
                await gateway.embed(pictures, spaces("0123456789abcdef"), soon())
            except LookalikeError as error:
                return *described, embedded, thumbnail, error
            raise AssertionError("another version was answered")

    described, default, embedded, thumbnail, refusal = asyncio.run(as_gateway())
    with open_channel(target) as channel:
        indexer = OfIndexer(channel, timeout_s=60.0)
        in_bulk = indexer.embed(wanted, pictures, Interruption(threading.Event(), Lease("a job", "0", "a worker", 1)))
        return Asked(described, default, embedded, thumbnail, refusal, in_bulk, indexer.describe(specs))


class _Raw(grpc.GenericRpcHandler):
    """Answers every unary call by its bytes."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = details.method.removeprefix(SERVICE)

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            done: Exchange = self._answer(method, request)
            if done.code:
                context.set_trailing_metadata(((DETAILS, done.details),))
                context.abort(next(code for code in grpc.StatusCode if code.value[0] == done.code), done.text)
            return done.answer

        return grpc.unary_unary_rpc_method_handler(call)


@contextmanager
def answering(answer: Any) -> Iterator[str]:
    """The address of a server that gives the exchange that `answer` makes of a method's name and a request."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Raw(answer)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def exchanged(channel: grpc.Channel, caller: str, method: str, request: bytes) -> Exchange:
    """Send a request to an embedder, as bytes."""
    try:
        send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(SERVICE + method)
        answer = send(request, timeout=60.0)
    except grpc.RpcError as error:
        ended = cast("grpc.Call", error)
        details = dict(ended.trailing_metadata() or ()).get(DETAILS, b"")
        return Exchange(caller, method, request, b"", ended.code().value[0], ended.details() or "", cast("bytes", details))
    return Exchange(caller, method, request, answer)
