"""Small pictures for the report, of files, of a dataset's own pixels, or of a running system's stored images."""

from __future__ import annotations

import io

from PIL import Image

from embedder.datasets.sources import Listing, read
from embedder.evaluation.result import OfRow, Thumbnail
from embedder.pictures.decode import Decoder
from lookalike.client import Client
from lookalike.errors import LookalikeError

SIDE = 112
"""Pixels: shown at half of it or a little more, so that they are sharp on a dense screen."""


def of_listing(listing: Listing) -> OfRow:
    """Of the rows of a listing."""
    decoder = Decoder()
    return lambda row: thumbnail(listing, row, decoder)


def of_stored(client: Client, collection: str, ids: tuple[str, ...]) -> OfRow:
    """Of stored images, from the gateway. Use it while `client` is open."""

    def stored(row: int) -> Thumbnail | None:
        try:
            return Thumbnail("jpeg", client.thumbnail(collection, ids[row]))
        except LookalikeError:
            return None  # a report without one picture is still a report

    return stored


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
