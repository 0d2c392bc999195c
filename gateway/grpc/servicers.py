"""gRPC over `gateway.rpcs`: unary calls are all served alike, streams each in their own way. Called by `gateway.listeners`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.message import Message

from gateway.backends.large_answers import Answer, batch_parts, is_large_outcome
from gateway.backends.threads import off_loop
from gateway.calls import DEFAULT_S, MAX_S
from gateway.collections.collections import Collections
from gateway.collections.generations import Generations
from gateway.images.images import Images
from gateway.jobs.ingest import IDLE_S, Ingest, unless_idle
from gateway.rpcs.collections import CollectionRpcs
from gateway.rpcs.ingest import IngestRpcs
from gateway.rpcs.search import SearchRpcs
from gateway.search.search import Search
from lookalike.errors import InvalidArgument
from lookalike.records.source import UploadItem
from lookalike.runtime.call import Call
from lookalike.runtime.channels import remaining_s
from lookalike.v1 import ingest_service_pb2 as ingest_pb
from lookalike.v1 import search_service_pb2 as search_pb
from lookalike.wire.jobs import job_message, upload_item_from, upload_message
from lookalike.wire.search import batch_from

Context = grpc.aio.ServicerContext[Any, Any]
Unary: TypeAlias = Callable[[Any, Context], Awaitable[Message | bytes]]

_METADATA_AT_ONCE_BYTES = 8 * 1024
"""The size of the metadata that is read on the loop, of one item: it takes a millisecond."""


class UnaryRpcs:
    """Every unary RPC of `rpcs`, by its name in the contract."""

    def __init__(self, rpcs: object) -> None:
        self._rpcs = rpcs

    def __getattr__(self, name: str) -> Unary:
        rpc = getattr(self._rpcs, name)

        async def serve(request: Any, context: Context) -> Message | bytes:
            answer: Message | Answer = await rpc(request, call_of(context))
            return await answer.written() if isinstance(answer, Answer) else answer

        return serve


class SearchServicer(UnaryRpcs):
    def __init__(self, search: Search, images: Images) -> None:
        super().__init__(SearchRpcs(search, images))
        self._search = search

    async def SearchBatch(self, request: search_pb.SearchBatchRequest, context: Context) -> AsyncIterator[Message | bytes]:
        call = call_of(context)  # first, since reading the batch takes some of the call's time
        outcomes = await self._search.answer_batch(await asyncio.to_thread(batch_from, request), call)
        async with aclosing(outcomes):
            async for index, outcome in outcomes:
                large = is_large_outcome(outcome)
                try:
                    yield await Answer(batch_parts(index, outcome, large=large), large, "options.top_k").written()
                except InvalidArgument as error:
                    yield next(batch_parts(index, error, large=False))


class CollectionServicer(UnaryRpcs):
    def __init__(self, collections: Collections, generations: Generations) -> None:
        super().__init__(CollectionRpcs(collections, generations))


class IngestServicer(UnaryRpcs):
    """An upload without a message for `idle_s` seconds is given up."""

    def __init__(self, ingest: Ingest, *, idle_s: float = IDLE_S) -> None:
        super().__init__(IngestRpcs(ingest))
        self._ingest, self._idle_s = ingest, idle_s

    async def UploadItems(
        self, request_iterator: AsyncIterator[ingest_pb.UploadItemsRequest], _context: Context
    ) -> ingest_pb.UploadItemsResponse:
        requests = unless_idle(request_iterator, self._idle_s)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgument("header", "is missing; the first message of an upload is its header")
        return upload_message(await self._ingest.upload(first.header.collection, _items(requests)))

    async def WatchIngestJob(
        self, request: ingest_pb.WatchIngestJobRequest, _context: Context
    ) -> AsyncIterator[ingest_pb.WatchIngestJobResponse]:
        async for job in self._ingest.watch(request.id):
            yield ingest_pb.WatchIngestJobResponse(job=job_message(job))


def call_of(context: Context) -> Call:
    """The call of an RPC: with the caller's deadline or the default one, never further away than `MAX_S`."""
    return Call.begun(remaining_s(context, default_s=DEFAULT_S, cap_s=MAX_S))


async def _items(requests: AsyncIterator[ingest_pb.UploadItemsRequest]) -> AsyncIterator[UploadItem]:
    async for request in requests:
        if request.WhichOneof("part") != "item":
            raise InvalidArgument("item", "is missing; every message after the header is an item")
        item = request.item
        yield await off_loop(partial(upload_item_from, item), large=item.metadata.ByteSize() > _METADATA_AT_ONCE_BYTES)
