"""The client's methods for collections: create, get, list, update, re-embed, roll back, delete."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from lookalike.client import _arguments, _checked
from lookalike.client._arguments import flag, spaces_of, span, text, texts, whole
from lookalike.client._channel import Calls
from lookalike.names import MAX_PAGE_SIZE
from lookalike.records.collection import Collection, CollectionDefaults, CollectionUpdate
from lookalike.spaces import HistogramSettings, Space, SpaceSpec
from lookalike.v1 import collection_service_pb2
from lookalike.wire.collections import collection_from, collection_update_message, defaults_message
from lookalike.wire.spaces import space_message, spec_message
from lookalike.wire.values import span_message


class CollectionCalls(Calls):
    """`CollectionService`, typed."""

    def create_collection(
        self,
        name: str,
        *,
        description: str = "",
        spaces: Sequence[SpaceSpec] | SpaceSpec = (),
        model: str = "",
        histogram: HistogramSettings | None = None,
        restored_spaces: Sequence[Space] | Space = (),
        defaults: CollectionDefaults | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Create an empty collection with `spaces`, of different names.

        Without them the collection has two: `histogram`, which counts as `histogram` says (None: 256 grey bins), and `siamese`,
        which `model` fills (empty: the embedder's default). `restored_spaces` are given only to restore an export: they are
        those of the export, with their fingerprints. The embedder is not asked then.

        `defaults` say what searches do that leave spaces, weights or `ef` open.

        Raises `InvalidArgument`, `NotFound` (model), `AlreadyExists`, `DeadlineExceeded`, `Unavailable`.
        """
        request = collection_service_pb2.CreateCollectionRequest(
            name=text("name", name),
            description=text("description", description),
            spaces=[spec_message(spec) for spec in _checked.specs(spaces, model, histogram)],
            restored_spaces=[space_message(space) for space in spaces_of(restored_spaces, "restored_spaces")],
        )
        if defaults is not None:
            request.defaults.CopyFrom(defaults_message(_checked.defaults(defaults)))
        return collection_from(self._call(self._collections.CreateCollection, request, timeout_s).collection)

    def get_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Return a collection. Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`."""
        request = collection_service_pb2.GetCollectionRequest(name=text("name", name))
        return collection_from(self._call(self._collections.GetCollection, request, timeout_s).collection)

    def list_collections(self, *, timeout_s: float | None = None) -> list[Collection]:
        """Return all collections in order of name. `timeout_s` is for each page of a thousand.

        Raises `DeadlineExceeded`, `Unavailable`.
        """
        request = collection_service_pb2.ListCollectionsRequest(page_size=MAX_PAGE_SIZE)
        pages = self._pages(self._collections.ListCollections, request, self._deadline(timeout_s))
        return [collection_from(message) for page in pages for message in page.collections]

    def update_collection(
        self,
        name: str,
        *,
        description: str | None = None,
        spaces: Sequence[str] | str | None = None,
        weights: Mapping[str, float] | None = None,
        ef: int | None = None,
        timeout_s: float | None = None,
    ) -> Collection:
        """Change the description of a collection, or what its searches do where they leave `spaces`, `weights` or `ef` open.

        None leaves a value as it is; an empty text, list or mapping, or 0, clears it. Returns the collection. Searches take the
        change up within some seconds. Raises `InvalidArgument` (also where nothing is given), `NotFound` (collection, space),
        `DeadlineExceeded`, `Unavailable`.
        """
        given: dict[str, object] = {"description": description}
        given |= {"defaults.spaces": spaces, "defaults.weights": weights, "defaults.ef": ef}
        defaults = CollectionDefaults(
            () if spaces is None else texts("spaces", spaces),
            _arguments.weights(weights),
            0 if ef is None else whole("ef", ef, "0 to 32,768"),
        )
        asked = CollectionUpdate(
            text("name", name),
            tuple(path for path, value in given.items() if value is not None),
            text("description", "" if description is None else description),
            defaults,
        )
        request = collection_update_message(asked)
        return collection_from(self._call(self._collections.UpdateCollection, request, timeout_s).collection)

    def reembed_collection(
        self,
        name: str,
        *,
        space: str = "",
        model: str = "",
        allow_missing: bool = False,
        force: bool = False,
        grace: timedelta | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> str:
        """Start a job that makes a `space` of a collection anew with the current version of `model` (empty: the space's own),
        while the collection is searched and written, and then switches to the result. Other spaces keep their vectors; an empty
        `space` means all that are not of the newest version. Returns the job's id; a `request_id` seen before gives the earlier
        job.

        The previous generation is kept for `grace` after the switch, 30 seconds to 30 days; None means a day. With
        `allow_missing` the collection switches even if some images could not be embedded again; it loses these images. With
        `force` it switches even if the new generation measured worse; without it such a job is held (`Job.held`). Raises
        `InvalidArgument`, `NotFound` (collection, space, model), `FailedPrecondition`, `DeadlineExceeded`, `Unavailable`.
        """
        request = collection_service_pb2.ReembedCollectionRequest(
            name=text("name", name),
            space=text("space", space),
            model=text("model", model),
            request_id=text("request_id", request_id) or f"client-{secrets.token_hex(12)}",
            allow_missing=flag("allow_missing", allow_missing),
            force=flag("force", force),
            grace=None if grace is None else span_message(span("grace", grace)),
        )
        return self._call(self._collections.ReembedCollection, request, timeout_s).job_id

    def rollback_collection(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Switch back to the generation before the last re-embedding, and return the collection.

        Raises `NotFound`, `FailedPrecondition` (none is kept), `DeadlineExceeded`, `Unavailable`.
        """
        request = collection_service_pb2.RollbackCollectionRequest(name=text("name", name))
        return collection_from(self._call(self._collections.RollbackCollection, request, timeout_s).collection)

    def drop_previous_generation(self, name: str, *, timeout_s: float | None = None) -> Collection:
        """Drop the generation before the last re-embedding now, not at the end of its grace, and return the collection.

        Raises as `rollback_collection`.
        """
        request = collection_service_pb2.DropPreviousGenerationRequest(name=text("name", name))
        return collection_from(self._call(self._collections.DropPreviousGeneration, request, timeout_s).collection)

    def delete_collection(self, name: str, *, timeout_s: float | None = None) -> None:
        """Delete a collection and all its images; its running jobs are cancelled.

        Raises `NotFound`, `InvalidArgument`, `DeadlineExceeded`, `Unavailable`.
        """
        request = collection_service_pb2.DeleteCollectionRequest(name=text("name", name))
        self._call(self._collections.DeleteCollection, request, timeout_s)
