"""Pages of the contract's lists (https://google.aip.dev/158): what a request asks for, and the token of the next page.

A token is opaque to callers. It holds the place after which the list goes on, and a digest of the request, so that it is good
for no other list. The RPCs of the gateway and of the embedder call it; what is behind them knows places only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any, cast

from google.protobuf.message import Message

from lookalike.errors import InvalidArgument
from lookalike.names import MAX_PAGE_SIZE, check_id

DEFAULT_PAGE_SIZE = 50
_OF_A_PAGE = ("page_size", "page_token")
"""Fields of a request that say which page of its list is asked for."""


def page_size_of(request: Message) -> int:
    """The most items of the page: 50 where the request says nothing, and never more than 1,000. Raises `InvalidArgument`."""
    asked = int(cast(Any, request).page_size)
    if asked < 0:
        allowed = f"1 to {MAX_PAGE_SIZE} are allowed, 0 means {DEFAULT_PAGE_SIZE}, and more means {MAX_PAGE_SIZE}"
        raise InvalidArgument("page_size", f"{asked} is negative; {allowed}")
    return min(asked, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def place_of(request: Message) -> str:
    """The place after which the page begins, 1 to 256 bytes; "" for the first page. Raises `InvalidArgument` for anything but a
    token of this very list."""
    token = str(cast(Any, request).page_token)
    if not token:
        return ""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, place = json.loads(packed)
        check_id("page_token", place)
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError, InvalidArgument) as error:
        # Any client may have made the token: it may be nested too deeply to be read, or hold what cannot be a place.
        raise InvalidArgument("page_token", "is not a token that this service made") from error
    if digest != _digest(request):
        raise InvalidArgument("page_token", "belongs to another list; all fields but page_size must stay the same")
    return str(place)


def token_after(place: str, request: Message) -> str:
    """The token of what follows `place` in the list that `request` asks for; "" for "", the end of the list."""
    if not place:
        return ""
    packed = json.dumps([_digest(request), place], ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _digest(request: Message) -> str:
    """16 hex digits over the list that a request asks for."""
    of = type(request)()
    of.CopyFrom(request)
    for field in _OF_A_PAGE:
        of.ClearField(field)
    name = str(cast(Any, of).DESCRIPTOR.full_name)
    return hashlib.sha256(name.encode() + b"\n" + of.SerializeToString(deterministic=True)).hexdigest()[:16]
