"""Reads the pictures of a chunk. Called by `pipeline`; what cannot be read is a value, not an exception."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from indexer.interruption import Interruption
from indexer.stages import Stages
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound
from lookalike.items import Item
from lookalike.sources import Reader

_ITEM_ERRORS = (NotFound, FailedPrecondition, InvalidArgument)
"""What reading one item may raise that is about this item alone."""


class Fetcher:
    """Thread-safe."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def fetch(
        self, items: Sequence[Item], interruption: Interruption, stages: Stages
    ) -> Iterator[tuple[Item, bytes | LookalikeError]]:
        """The bytes of each item, in order, or why they could not be read. Raises `TRANSIENT`, `Draining`, `LeaseLost`."""
        for item in items:
            interruption.check()
            with stages.of("read"):
                content = self._read(item)
            yield item, content

    def _read(self, item: Item) -> bytes | LookalikeError:
        try:
            return self._reader.read(item.uri, offset=item.offset, size_bytes=item.size_bytes)
        except _ITEM_ERRORS as error:
            return error
