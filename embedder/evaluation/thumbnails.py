"""Small pictures for the report, of files, of a dataset's own pixels, or of a running system's stored images."""

from __future__ import annotations

import io

from PIL import Image

from embedder.datasets.sources import Listing, read
from embedder.evaluation.result import Thumbnail
from embedder.pictures.decode import Decoder
from lookalike.client import Client
from lookalike.errors import LookalikeError

SIDE = 112
"""Pixels: shown at half of it or a little more, so that they are sharp on a dense screen."""


class ListingThumbnails:
    """Of the rows of two listings."""

    def __init__(self, queries: Listing, gallery: Listing) -> None:
        self._queries, self._gallery, self._decoder = queries, gallery, Decoder()

    def query(self, row: int) -> Thumbnail | None:
        return thumbnail(self._queries, row, self._decoder)

    def gallery(self, row: int) -> Thumbnail | None:
        return thumbnail(self._gallery, row, self._decoder)


class StoredThumbnails:
    """Queries of a listing, the gallery from the gateway by id. Use it while `client` is open."""

    def __init__(self, queries: Listing, client: Client, collection: str, ids: tuple[str, ...]) -> None:
        self._queries, self._decoder = queries, Decoder()
        self._client, self._collection, self._ids = client, collection, ids

    def query(self, row: int) -> Thumbnail | None:
        return thumbnail(self._queries, row, self._decoder)

    def gallery(self, row: int) -> Thumbnail | None:
        try:
            return Thumbnail("jpeg", self._client.thumbnail(self._collection, self._ids[row]))
        except LookalikeError:
            return None  # a report without one picture is still a report


def thumbnail(listing: Listing, row: int, decoder: Decoder) -> Thumbnail | None:
    """Of one row; None where it cannot be read (any more)."""
    if listing.pixels is not None and listing.pixels.shape[1] <= SIDE:
        stream = io.BytesIO()
        Image.fromarray(listing.pixels[row]).save(stream, "PNG", optimize=True)
        return Thumbnail("png", stream.getvalue(), pixelated=True)
    try:
        return Thumbnail("jpeg", decoder.thumbnail(read(listing, row), SIDE))
    except LookalikeError:
        return None
