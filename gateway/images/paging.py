"""Pages of `ListImages`: their sizes and tokens. A token is opaque to callers and only good for the list it came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from lookalike.errors import InvalidArgument
from lookalike.names import check_id, check_page_size
from lookalike.records.collection import Collection
from lookalike.records.image import StoredImage

DEFAULT_PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Images in order of id, their collection, and the token of the next page ("" on the last)."""

    collection: Collection
    images: list[StoredImage]
    token: str


def page_size_from(page_size: int) -> int:
    """0 means 50. Raises `InvalidArgument` outside 1 to 1,000."""
    if page_size == 0:
        return DEFAULT_PAGE_SIZE
    check_page_size(page_size)
    return page_size


def make_token(after_id: str, *list_of: str) -> str:
    """A token for what follows `after_id` in the list that `list_of` (collection, filter) describes."""
    packed = json.dumps([_digest(list_of), after_id], ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_token(token: str, *list_of: str) -> str:
    """The id to go on after; "" for no token. Raises `InvalidArgument` for anything but a token of this very list."""
    if not token:
        return ""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, after_id = json.loads(packed)
        check_id("page_token", after_id)
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError, InvalidArgument) as error:
        # Any client may have made the token: it may be nested too deeply to be read, or hold what cannot be an id.
        raise InvalidArgument("page_token", "is not a token that this service made") from error
    if digest != _digest(list_of):
        raise InvalidArgument("page_token", "belongs to another list; collection and filter must stay the same")
    return str(after_id)


def _digest(list_of: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(list_of).encode()).hexdigest()[:16]
