"""Collections of real pictures for the tests of the gateway, filled the way anyone would: upload, job, watch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from lookalike import fashion_mnist
from lookalike.runtime.channels import open_channel
from lookalike.v1 import collection_service_pb2 as collection_pb
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1.collection_service_pb2_grpc import CollectionServiceStub
from lookalike.v1.ingest_service_pb2_grpc import IngestServiceStub
from lookalike.v1.search_service_pb2_grpc import SearchServiceStub
from lookalike.wire.values import metadata_message
from tests.messages import made

TIMEOUT_S = 60.0
SUCCEEDED = ingest_pb.INGEST_JOB_STATE_SUCCEEDED


@dataclass(frozen=True)
class Stubs:
    """The gateway's three services on one channel."""

    search: SearchServiceStub
    collections: CollectionServiceStub
    ingest: IngestServiceStub


def stubs(channel: grpc.Channel) -> Stubs:
    return Stubs(SearchServiceStub(channel), CollectionServiceStub(channel), IngestServiceStub(channel))


def picture(number: int) -> bytes:
    """Picture `number` of Fashion-MNIST's test images as PNG."""
    return png(_split().images[number])


def label(number: int) -> str:
    return fashion_mnist.CLASS_NAMES[_split().labels[number]]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_id(number: int) -> str:
    return f"test/{number:05d}"


def fill(target: str, name: str, count: int, spaces: Sequence[Mapping[str, object]] = ()) -> None:
    """Make collection `name` of the first `count` pictures, each with its `label` and `number`, in `spaces` or the default
    ones; ready when this returns."""
    with open_channel(target) as channel:
        services = stubs(channel)
        request = made(collection_pb.CreateCollectionRequest, name=name, spaces=list(spaces))
        services.collections.CreateCollection(request, timeout=TIMEOUT_S)
        job = ingest(services, name, ((image_id(n), picture(n), {"label": label(n), "number": n}) for n in range(count)))
        assert (job.state, job.counts.indexed) == (SUCCEEDED, count), job


def ingest(services: Stubs, name: str, items: Iterator[tuple[str, bytes, Mapping[str, object]]]) -> ingest_pb.IngestJob:
    """Upload `items` (id, content, metadata), start a job, watch it to its end; the job then."""
    uploaded = services.ingest.UploadItems(_requests(name, items), timeout=TIMEOUT_S)
    source = ingest_pb.Source(upload=ingest_pb.UploadSource(upload_id=uploaded.upload_id))
    request = ingest_pb.CreateIngestJobRequest(collection=name, source=source)
    job = services.ingest.CreateIngestJob(request, timeout=TIMEOUT_S).job
    *_, last = services.ingest.WatchIngestJob(ingest_pb.WatchIngestJobRequest(id=job.id), timeout=TIMEOUT_S)
    return last.job


def refused(call: Callable[..., object], request: object) -> tuple[str, str | None, str]:
    """The status, the field at fault and the reason of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        _to_the_end(call(request, timeout=TIMEOUT_S))
    status = rpc_status.from_call(raised.value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        for message in (info, bad):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    assert info.domain == "lookalike"
    assert status.message
    field = bad.field_violations[0].field if bad.field_violations else None
    return raised.value.code().name, field, info.reason


def _to_the_end(response: object) -> None:
    """A stream's error comes with its first message, not with the call."""
    if isinstance(response, Iterator):
        list(response)


def _requests(name: str, items: Iterator[tuple[str, bytes, Mapping[str, object]]]) -> Iterator[ingest_pb.UploadItemsRequest]:
    yield ingest_pb.UploadItemsRequest(header=ingest_pb.UploadHeader(collection=name))
    for item_id, content, metadata in items:
        item = ingest_pb.UploadItem(id=item_id, content=content, metadata=metadata_message(metadata))
        yield ingest_pb.UploadItemsRequest(item=item)


def _split() -> fashion_mnist.Split:
    if not _loaded:
        _loaded.append(fashion_mnist.load("test"))
    return _loaded[0]


_loaded: list[fashion_mnist.Split] = []
