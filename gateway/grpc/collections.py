"""gRPC's CollectionService over the core."""

from __future__ import annotations

from gateway.backends.large_answers import MANY
from gateway.backends.threads import off_loop
from gateway.collections.collections import Collections, NewCollection
from gateway.collections.generations import Generations, Reembed
from gateway.grpc.search import Context, call_of
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.v1.collection_service_pb2_grpc import CollectionServiceServicer
from lookalike.wire.collections import collection_message
from lookalike.wire.spaces import asked_spaces_from, histogram_from


class CollectionServicer(CollectionServiceServicer):
    def __init__(self, collections: Collections, generations: Generations) -> None:
        self._collections, self._generations = collections, generations

    async def CreateCollection(  # noqa: N802
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        histogram, spaces = histogram_from(request.histogram), asked_spaces_from(request.spaces)
        new = NewCollection(request.name, request.description, request.model, histogram, spaces)
        made = await self._collections.create(new, call_of(context))
        return pb.CreateCollectionResponse(collection=collection_message(made))

    async def GetCollection(  # noqa: N802
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        found = await self._collections.get(request.name, call_of(context))
        return pb.GetCollectionResponse(collection=collection_message(found))

    async def ListCollections(  # noqa: N802
        self, _request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        found = await self._collections.list_all(call_of(context))
        return await off_loop(
            lambda: pb.ListCollectionsResponse(collections=map(collection_message, found)),
            large=len(found) > MANY,
        )

    async def DeleteCollection(  # noqa: N802
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        await self._collections.delete(request.name, call_of(context))
        return pb.DeleteCollectionResponse()

    async def ReembedCollection(  # noqa: N802
        self, request: pb.ReembedCollectionRequest, context: Context
    ) -> pb.ReembedCollectionResponse:
        wanted = Reembed(request.name, request.model, request.request_id, request.allow_missing, request.grace_s, request.force)
        job = await self._generations.reembed(wanted, call_of(context))
        return pb.ReembedCollectionResponse(job_id=job.id)

    async def RollbackCollection(  # noqa: N802
        self, request: pb.RollbackCollectionRequest, context: Context
    ) -> pb.RollbackCollectionResponse:
        found = await self._generations.roll_back(request.name, call_of(context))
        return pb.RollbackCollectionResponse(collection=collection_message(found))

    async def DropPreviousGeneration(  # noqa: N802
        self, request: pb.DropPreviousGenerationRequest, context: Context
    ) -> pb.DropPreviousGenerationResponse:
        found = await self._generations.drop_previous(request.name, call_of(context))
        return pb.DropPreviousGenerationResponse(collection=collection_message(found))
