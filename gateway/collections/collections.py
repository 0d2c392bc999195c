"""Collections: create, get, list, delete. Entered by gRPC and HTTP alike."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from gateway.backends.embedder import Embedder
from gateway.backends.milvus import Backends, find_collection
from gateway.backends.threads import Threads
from gateway.collections.defaults import check_defaults
from gateway.images.given_vectors import check_restored
from lookalike.errors import Internal, InvalidArgument, NotFound
from lookalike.jobs.ledger import Ledger
from lookalike.names import check_name, check_prose
from lookalike.records.collection import NO_DEFAULTS, Collection, CollectionDefaults, CollectionUpdate
from lookalike.runtime.call import Call, Deadline
from lookalike.spaces import Space, SpaceSpec

T = TypeVar("T")

MAX_DESCRIPTION = 1000
"""Characters of a description."""
_COUNTS_AT_ONCE = 8
"""Collections that are counted at once, so that a list of many leaves threads for searches."""


@dataclass(frozen=True, slots=True)
class NewCollection:
    """A collection to create, with `spaces`, or the default ones where there are none, or with the spaces of an export that is
    restored."""

    name: str
    description: str = ""
    spaces: tuple[SpaceSpec, ...] = ()
    restored_spaces: tuple[Space, ...] = ()
    defaults: CollectionDefaults = NO_DEFAULTS


class Collections:
    """One per process, used from one event loop."""

    def __init__(self, backends: Backends, ledger: Ledger, embedder: Embedder, threads: Threads) -> None:
        self._backends, self._ledger, self._embedder, self._threads = backends, ledger, embedder, threads

    async def create(self, new: NewCollection, call: Call) -> Collection:
        """An empty collection whose spaces and fingerprints are what the embedder makes now, or those of an export.

        Raises `AlreadyExists`.
        """
        check_name("name", new.name)
        check_prose("description", new.description, MAX_DESCRIPTION)
        if new.spaces and new.restored_spaces:
            raise InvalidArgument("restored_spaces", "are given beside spaces; give one of the two")
        if new.restored_spaces:
            check_restored(new.restored_spaces)
        spaces = new.restored_spaces or await self._embedder.describe(new.spaces, call.deadline)
        check_defaults("defaults", new.defaults, [space.name for space in spaces])
        collection = Collection(
            name=new.name,
            uid=uuid.uuid4().hex,
            description=new.description,
            spaces=spaces,
            generation=1,
            create_time=datetime.now(UTC),
            exact=self._backends.catalogue.exact,
            defaults=new.defaults,
        )

        def create() -> None:
            self._backends.writes(self._ledger).create(collection, timeout_s=call.deadline.remaining_s())

        await self._run(create, call.deadline)
        return collection

    async def get(self, name: str, call: Call) -> Collection:
        """A collection with how many images it holds."""
        check_name("name", name)
        # Read anew: the generation of a moment ago may have been dropped since, after a switch.
        collection = await self._run(lambda: find_collection(self._backends, name, field="name", fresh=True), call.deadline)
        return await self._counted(collection, call)

    async def page(self, limit: int, after_name: str, call: Call) -> tuple[list[Collection], str]:
        """At most `limit` collections after `after_name` ("" is the start), in order of name, each with how many images it
        holds; and the name of the last one where more follow ("" on the last page)."""
        everything = await self._run(lambda: self._backends.catalogue.list(), call.deadline)
        following = [one for one in everything if one.name > after_name]
        collections = following[:limit]
        last = collections[-1].name if len(following) > limit else ""
        few = asyncio.Semaphore(_COUNTS_AT_ONCE)

        async def counted(collection: Collection) -> Collection | None:
            async with few:
                return await self._counted_if_there(collection, call)

        return [found for found in await asyncio.gather(*map(counted, collections)) if found is not None], last

    async def _counted_if_there(self, listed: Collection, call: Call) -> Collection | None:
        """`listed` with its count; None where it was deleted since the list was read. Raises `Internal` where its row is there
        and its images are not: that must not look like an ordinary delete."""
        try:
            return await self._counted(listed, call)
        except NotFound:
            try:
                now = await self._run(lambda: self._backends.catalogue.get(listed.name, fresh=True), call.deadline)
            except NotFound:
                return None
        if now.uid != listed.uid:  # Deleted and made again.
            return await self._counted(now, call)
        raise Internal(f"collection {listed.name!r} is in the catalogue, but what holds its images is gone")

    async def update(self, asked: CollectionUpdate, call: Call) -> Collection:
        """Change the description or the defaults of a collection; the collection then, and how many images it holds.

        Raises `InvalidArgument`, and `NotFound` for the collection or for a space of the defaults.
        """
        check_name("collection.name", asked.name)
        check_prose("collection.description", asked.description, MAX_DESCRIPTION)

        def change(now: Collection) -> Collection:
            new = asked.applied(now)
            check_defaults("collection.defaults", new.defaults, [space.name for space in new.spaces])
            return new

        def update() -> None:
            writes = self._backends.writes(self._ledger)
            left_s = call.deadline.remaining_s()
            with writes.session(asked.name, timeout_s=left_s, field="collection.name") as session:
                session.change(change)

        await self._run(update, call.deadline)
        return await self.get(asked.name, call)

    async def delete(self, name: str, call: Call) -> None:
        """Remove a collection and its images, then stop its jobs. A job begun in between sees that its collection is gone."""
        check_name("name", name)

        def delete() -> None:
            writes = self._backends.writes(self._ledger)
            with writes.session(name, timeout_s=call.deadline.remaining_s(), field="name") as session:
                session.delete_collection()
            self._ledger.cancel_collection(session.collection.uid)

        await self._run(delete, call.deadline)

    async def _counted(self, collection: Collection, call: Call) -> Collection:
        def count() -> int:
            return self._backends.vectors.count(collection, timeout_s=call.deadline.remaining_s())

        return replace(collection, image_count=await self._run(count, call.deadline))

    async def _run(self, call: Callable[[], T], deadline: Deadline) -> T:
        return await self._threads.run(call, deadline)
