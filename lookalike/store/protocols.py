"""What a store offers to readers: `Vectors`, the images of every collection, and `Catalogue`, which collections exist.

The gateway and the indexer depend on these alone, and write through `lookalike.writes`, for which `writable` has the other
methods. The wiring of a service chooses the implementation. `milvus/` is the product's,
`memory/` the tests'. Both are held to the same contract tests (tests/contract/test_store*.py).

Every call blocks, and may be made from several threads. Every method may raise `Unavailable`, `Overloaded` and
`DeadlineExceeded`, and those of `Vectors` also `NotFound` ("collection") where the collection has been deleted meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lookalike.records.collection import Collection
from lookalike.records.filter import Condition, Selection
from lookalike.records.image import Consistency, Hit, StoredImage
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import Space, Vector

FLUSH_TIMEOUT_S = 120.0
"""Bounds a flush whose caller names no time."""


class Vectors(Protocol):
    """The images of every collection.

    An image is one row in each space of its collection. Writes go through the spaces in the order of `Collection.written` and
    deletes in the reverse one, so that a row in the last space means: indexed in every space. `get`, `page` and `count`
    therefore ask the last space.

    Where a collection has an other generation beside the current one, everything that changes images changes both. Reads are of
    the current one, but for `get_by_space`, `get_everywhere`, `matching_ids` and `contents`, by which writers decide.
    `Collection.as_other` is for reading the other one.
    """

    def search(
        self,
        collection: Collection,
        space: str,
        queries: Vector,
        options: SearchOptions,
        *,
        exclude_ids: Sequence[str] = (),
        within: float | None = None,
        timeout_s: float,
    ) -> list[list[Hit]]:
        """For each of `queries` (float32 `[n, dimension]`) its at most `top_k` nearest images, nearest first, ties by id.
        Raises `InvalidArgument` (`top_k`, `ef`, `vectors`), `BadFilter`, `NotFound` (space).

        Only the `options` of one space count (`SearchOptions.of_space`). Their `view` says what is read of each image. `top_k`
        is 1 to 1,000. `ef`, the breadth of the HNSW search, is 1 to 32,768, and raised to `top_k` where it is less. `within`
        leaves out images at that distance or farther. Of images at the same distance at the end of the list, any may be left
        out.
        """

    def get(
        self,
        collection: Collection,
        ids: Sequence[str],
        *,
        spaces: Sequence[str] = (),
        facts: bool = True,
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> dict[str, StoredImage]:
        """The stored images among `ids`, by id, with their vectors in `spaces`. Raises `NotFound` (space).

        Without `facts` nothing else than ids and vectors is read.
        """

    def get_everywhere(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, tuple[StoredImage, ...]]:
        """For each of `ids` that is in any space: its row in every space that has it, in write order, without vectors. Strong.

        A tuple shorter than `collection.written` is an image that a killed writer left half written, or that the generation
        that a job fills does not have yet.
        """

    def get_by_space(
        self, collection: Collection, ids: Sequence[str], *, timeout_s: float
    ) -> dict[str, dict[Space, StoredImage]]:
        """As `get_everywhere`, with each row by its space."""

    def page(
        self,
        collection: Collection,
        *,
        filter: Condition | None = None,  # noqa: A002 - the word of the contract
        after_id: str = "",
        limit: int,
        facts: bool = True,
        consistency: Consistency = Consistency.BOUNDED,
        timeout_s: float,
    ) -> list[StoredImage]:
        """The first `limit` (1 to 1,000) images after `after_id` that match `filter`, in order of id, without vectors.

        Without `facts` nothing but the ids is read.

        Ids are ordered by code point, as their UTF-8 bytes are. Raises `InvalidArgument` (`page_size`).
        """

    def matching_ids(
        self, collection: Collection, selection: Selection, *, after_id: str = "", limit: int, timeout_s: float
    ) -> list[str]:
        """The first `limit` (1 to 1,000) ids after `after_id`, in order, of the images of `selection`; Strong.

        A row in any space counts, so rows that a killed delete or write has left in one space are found too.
        """

    def contents(
        self, collection: Collection, space: Space, *, after_id: str, limit: int, timeout_s: float
    ) -> list[tuple[str, str]]:
        """(id, SHA-256 of the picture) of the first `limit` (1 to 1,000) rows after `after_id` in `space`, in order; Strong."""

    def count(
        self,
        collection: Collection,
        *,
        filter: Condition | None = None,  # noqa: A002 - the word of the contract
        consistency: Consistency = Consistency.STRONG,
        timeout_s: float,
    ) -> int:
        """The number of images that match `filter`, in the space that is written last."""

    def flush(self, collection: Collection, *, wait: bool = True, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Let the store index the rows written so far. A flush costs a second or more, so a job asks for one.

        Rows are kept and found without a flush. With `wait`, the call returns when the rows are on the disk.
        """


class Catalogue(Protocol):
    """The collections that exist: their models, spaces and generations. `get` may remember an answer for some seconds."""

    @property
    def exact(self) -> bool:
        """Whether the store compares a query with every image."""

    def get(self, name: str, *, fresh: bool = False) -> Collection:
        """The collection called `name`, as it was at most some seconds ago; with `fresh`, as it is now.

        Raises `NotFound` (after a fresh read), `InvalidArgument` (name).
        """

    def recall(self, name: str) -> Collection | None:
        """The collection that `get` remembers; None where `get` would ask the store. Does not block."""

    def with_leftovers(self) -> Sequence[str]:
        """Names of the collections for which a killed change has left rows that nothing names. `change` removes such rows.

        Rows of a change that is under way count too, until the change has named them.
        """

    def list(self) -> list[Collection]:
        """Every collection that exists now, in order of name."""
