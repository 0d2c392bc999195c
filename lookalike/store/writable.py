"""The writing methods of a store. Only `lookalike.writes`, the one writer, calls them; an import rule keeps others away.

Every method is called under the collection's write lock. Before each of its steps it calls its `check`, or asks its
deadline for the time that is left, and passes on the error that this raises. The store is then as a kill at that step would
leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage
from lookalike.runtime.call import Deadline
from lookalike.store.protocols import Catalogue, Vectors

WRITE_TIMEOUT_S = 30.0
"""Bounds a write whose caller names no time."""
Check = Callable[[], None]
"""Raises an error where the caller may no longer write. Makes no round trip."""


def unchecked() -> None:
    """The check of callers that may always write."""


@dataclass(frozen=True, slots=True)
class _Guarded(Deadline):
    check: Check

    def remaining_s(self) -> float:
        self.check()
        return Deadline.remaining_s(self)


def guarded(timeout_s: float, check: Check) -> Deadline:
    """A deadline in `timeout_s` for a write that may go on only as long as `check` raises nothing."""
    return _Guarded(Deadline.after(timeout_s).at_s, check)


class WritableVectors(Vectors, Protocol):
    """`Vectors`, with the methods that change images. Without a deadline a write may take `WRITE_TIMEOUT_S`."""

    def upsert(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        """Write `images` in every space of both generations; of equal ids the last one wins. Idempotent: writing again changes
        nothing.

        Raises before anything is written: `InvalidArgument` (a vector is missing or has the wrong length, metadata is not
        JSON), and `FailedPrecondition` REEMBED_UNDER_WAY where the vectors of the other generation are missing.
        """

    def fill(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        """Write `images`, each id once, in the spaces that only the other generation has, with `vectors` in these. Idempotent.

        Raises `InvalidArgument` before anything is written, as `upsert`.
        """

    def rewrite(self, collection: Collection, images: Sequence[StoredImage], deadline: Deadline | None = None) -> None:
        """Give stored images the facts of `images`, in every space that has them; their vectors stay as they are.

        Idempotent. Raises `InvalidArgument` before anything is written.
        """

    def delete(self, collection: Collection, ids: Sequence[str], deadline: Deadline | None = None) -> int:
        """Delete `ids` in every space, and return how many of them were in any space. Unknown ids are no error."""


class WritableCatalogue(Catalogue, Protocol):
    """`Catalogue`, with the methods that change collections."""

    def create(self, collection: Collection, *, check: Check = unchecked) -> None:
        """Create `collection`, empty and searchable. Raises `AlreadyExists`, `InvalidArgument` (name)."""

    def change(self, name: str, change: Callable[[Collection], Collection], *, check: Check = unchecked) -> Collection:
        """Replace the collection called `name` by the result of `change` for it, in one write, and return the result. An error
        of `change` is passed on, and nothing is changed.

        New spaces are empty; spaces that are no longer named are dropped with their rows. A kill in between leaves spaces that
        no collection names. The next `change` of that collection drops them, also if it changes nothing.
        Raises `NotFound`, `InvalidArgument` (name).
        """

    def delete(self, name: str, *, check: Check = unchecked) -> None:
        """Delete the collection called `name` with all its images. Raises `NotFound`, `InvalidArgument` (name)."""
