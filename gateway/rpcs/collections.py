"""The RPCs of CollectionService over the core."""

from __future__ import annotations

from gateway.backends.large_answers import MANY, Answer
from gateway.collections.collections import Collections, NewCollection
from gateway.collections.generations import Generations, Reembed
from lookalike.runtime.call import Call
from lookalike.v1 import collection_service_pb2 as pb
from lookalike.wire.collections import collection_message, collection_update_from, defaults_from
from lookalike.wire.paging import page_size_of, place_of, token_after
from lookalike.wire.spaces import restored_spaces_from, specs_from
from lookalike.wire.values import span_from


class CollectionRpcs:
    def __init__(self, collections: Collections, generations: Generations) -> None:
        self._collections, self._generations = collections, generations

    async def CreateCollection(self, request: pb.CreateCollectionRequest, call: Call) -> pb.CreateCollectionResponse:
        spaces, restored = specs_from(request.spaces), restored_spaces_from(request.restored_spaces)
        new = NewCollection(request.name, request.description, spaces, restored, defaults_from(request.defaults))
        made = await self._collections.create(new, call)
        return pb.CreateCollectionResponse(collection=collection_message(made))

    async def UpdateCollection(self, request: pb.UpdateCollectionRequest, call: Call) -> pb.UpdateCollectionResponse:
        now = await self._collections.update(collection_update_from(request), call)
        return pb.UpdateCollectionResponse(collection=collection_message(now))

    async def GetCollection(self, request: pb.GetCollectionRequest, call: Call) -> pb.GetCollectionResponse:
        found = await self._collections.get(request.name, call)
        return pb.GetCollectionResponse(collection=collection_message(found))

    async def ListCollections(self, request: pb.ListCollectionsRequest, call: Call) -> Answer:
        found, last = await self._collections.page(page_size_of(request), place_of(request), call)
        token = token_after(last, request)
        return Answer.whole(
            lambda: pb.ListCollectionsResponse(collections=map(collection_message, found), next_page_token=token),
            large=len(found) > MANY,
        )

    async def DeleteCollection(self, request: pb.DeleteCollectionRequest, call: Call) -> pb.DeleteCollectionResponse:
        await self._collections.delete(request.name, call)
        return pb.DeleteCollectionResponse()

    async def ReembedCollection(self, request: pb.ReembedCollectionRequest, call: Call) -> pb.ReembedCollectionResponse:
        grace = span_from(request.grace, "grace")
        wanted = Reembed(
            request.name, request.space, request.model, request.request_id, request.allow_missing, grace, request.force
        )
        return pb.ReembedCollectionResponse(job_id=(await self._generations.reembed(wanted, call)).id)

    async def RollbackCollection(self, request: pb.RollbackCollectionRequest, call: Call) -> pb.RollbackCollectionResponse:
        found = await self._generations.roll_back(request.name, call)
        return pb.RollbackCollectionResponse(collection=collection_message(found))

    async def DropPreviousGeneration(
        self, request: pb.DropPreviousGenerationRequest, call: Call
    ) -> pb.DropPreviousGenerationResponse:
        found = await self._generations.drop_previous(request.name, call)
        return pb.DropPreviousGenerationResponse(collection=collection_message(found))
