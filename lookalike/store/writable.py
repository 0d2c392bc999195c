"""What a store offers to the one writer, `lookalike.writes`, besides what readers get. An import rule keeps all others away.

Everything here is called under the collection's write lock. Every method asks `check` before each of its steps and passes on
what it raises. What the method has begun is then as a kill would leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.store.protocols import Catalogue, Vectors

WRITE_TIMEOUT_S = 30.0
"""Bounds a write whose caller names no time."""
Check = Callable[[], None]
"""Raises where the caller may not write any more. Makes no round trip."""


def unchecked() -> None:
    """For callers that nothing can stop."""


class WritableVectors(Vectors, Protocol):
    """`Vectors`, and what changes images."""

    def upsert(
        self,
        collection: Collection,
        images: Sequence[StoredImage],
        *,
        timeout_s: float = WRITE_TIMEOUT_S,
        check: Check = unchecked,
    ) -> None:
        """Write `images` in every space of both generations; of equal ids the last one wins. Idempotent: writing again changes
        nothing.

        Raises before anything is written: `InvalidArgument` (a vector is missing or has the wrong length, metadata is not
        JSON), and `FailedPrecondition` REEMBED_UNDER_WAY where the vectors of the other generation are missing.
        """

    def fill(
        self,
        collection: Collection,
        images: Sequence[StoredImage],
        *,
        timeout_s: float = WRITE_TIMEOUT_S,
        check: Check = unchecked,
    ) -> None:
        """Write `images`, each id once, in the spaces that only the other generation has; `vectors` are theirs. Idempotent.

        Raises `InvalidArgument` before anything is written, as `upsert`.
        """

    def rewrite(
        self,
        collection: Collection,
        images: Sequence[StoredImage],
        *,
        timeout_s: float = WRITE_TIMEOUT_S,
        check: Check = unchecked,
    ) -> None:
        """Give images that are there the facts of `images`, in every space that has them; their vectors stay as they are.

        Idempotent. Raises `InvalidArgument` before anything is written.
        """

    def delete(self, collection: Collection, ids: Sequence[str], *, timeout_s: float, check: Check = unchecked) -> int:
        """Delete `ids` in every space; how many of them were there, in any. Deleting what is not there is no error."""


class WritableCatalogue(Catalogue, Protocol):
    """`Catalogue`, and what changes collections."""

    def create(self, collection: Collection, *, check: Check = unchecked) -> None:
        """Make `collection`, empty and searchable. Raises `AlreadyExists`, `InvalidArgument` (name)."""

    def change(self, name: str, change: Callable[[Collection], Collection], *, check: Check = unchecked) -> Collection:
        """Make of the collection called `name`, as it is now, what `change` makes of it, in one write; the collection then.
        What `change` raises is passed on, and nothing is changed then.

        Spaces that are named anew are empty; those no longer named are dropped with their rows. Killed in between, it leaves
        some that no collection names: `change` again, also if it changes nothing, and they go.
        Raises `NotFound`, `InvalidArgument` (name).
        """

    def delete(self, name: str, *, check: Check = unchecked) -> None:
        """Remove the collection called `name` with all its images. Raises `NotFound`, `InvalidArgument` (name)."""
