"""The client's part for collections: create, get, list, delete."""

from __future__ import annotations

from collections.abc import Sequence

from lookalike.client import _wire
from lookalike.client._channel import Calls
from lookalike.client.records import Collection
from lookalike.spaces import HistogramSettings, Space
from lookalike.v1 import collection_service_pb2
from lookalike.wire import space_message


class CollectionCalls(Calls):
    """`CollectionService`, typed."""

    def create_collection(
        self,
        name: str,
        *,
        description: str = "",
        model: str = "",
        histogram: HistogramSettings | None = None,
        spaces: Sequence[Space] = (),
        timeout_s: float | None = None,
    ) -> Collection:
        """Make an empty collection. `model` empty means the embedder's default; `histogram` None means 256 grey bins.

        `spaces` are given only to restore an export: those it had, with their fingerprints; the embedder is not asked then.

        Raises `InvalidArgument`, `NotFound` (model), `AlreadyExists`, `DeadlineExceeded`, `Unavailable`.
        """
        request = collection_service_pb2.CreateCollectionRequest(name=name, description=description, model=model)
        request.spaces.extend(space_message(space) for space in spaces)
        if histogram is not None:
            request.histogram.CopyFrom(_wire.histogram(histogram))
        return _wire.collection(self._call(self._collections.CreateCollection, request, timeout_s).collection)

    def get_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """One collection. Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`."""
        request = collection_service_pb2.GetCollectionRequest(name=name)
        return _wire.collection(self._call(self._collections.GetCollection, request, timeout_s).collection)

    def list_collections(self, *, timeout_s: float | None = None) -> list[Collection]:
        """All collections, by name. Raises `DeadlineExceeded`, `Unavailable`."""
        request = collection_service_pb2.ListCollectionsRequest()
        answer = self._call(self._collections.ListCollections, request, timeout_s)
        return [_wire.collection(message) for message in answer.collections]

    def delete_collection(self, name: str, *, timeout_s: float | None = None) -> None:
        """Remove a collection and all its images; its running jobs are cancelled.

        Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`.
        """
        self._call(self._collections.DeleteCollection, collection_service_pb2.DeleteCollectionRequest(name=name), timeout_s)
