"""Resource names, ids and their limits: the one place that says what may be called what. Standard library only.

Names of collections, spaces and models are `[a-z][a-z0-9]*(_[a-z0-9]+)*`, at most 63 bytes, so that they are safe in a
Milvus collection name, where `__` separates the parts.
"""

from __future__ import annotations

import hashlib
import re

from lookalike.errors import InvalidArgument

MAX_NAME_BYTES = 63
MAX_ID_BYTES = 256
MAX_URI_BYTES = 2048
MAX_METADATA_BYTES = 16 * 1024
MAX_IMAGE_BYTES = 20 * 1000 * 1000
MAX_IMAGES_PER_CALL = 32
MAX_QUERIES_PER_BATCH = 256
"""Eight calls of `MAX_IMAGES_PER_CALL` to the embedder: enough to fill it, few enough to be answered within one deadline."""
MAX_CALL_BYTES = 16 * 1024 * 1024
"""What a client may put into one call; servers accept `MAX_MESSAGE_BYTES`, so that one image of the largest size fits."""
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
MAX_TOP_K = 1000
"""Beyond this a search is an export; Milvus itself stops at 16,384."""
MAX_EF = 32_768
"""Breadth of an HNSW search; Milvus' own limit (its documentation, "HNSW")."""
MAX_PAGE_SIZE = 1000

PATTERNS = {
    "name": r"[a-z][a-z0-9]*(_[a-z0-9]+)*",
    "request-id": r"[A-Za-z0-9._:-]{1,128}",
    "image-id": r"[^\x00-\x1f\x7f-\x9f]+",
    "fingerprint": r"[0-9a-f]{16}",
    "glob": r"[^\x00-\x1f\x7f-\x9f]+",
    "line": r"[^\x00-\x1f\x7f-\x9f]*",
    "prose": r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*",
}
"""Texts by their `format` in the contract (`protos/lookalike/v1/bounds.proto`), as expressions of Python and of ECMA-262."""
_NAME, _REQUEST_ID = re.compile(PATTERNS["name"]), re.compile(PATTERNS["request-id"])
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Unicode's control characters (category Cc) and surrogates (Cs). A thousand ids are checked in 1 ms by an expression, and in
25 ms a character at a time, while the gateway's loop waits."""
_CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""The same without tabs and line breaks."""


def check_name(field: str, name: str) -> str:
    """Return `name` if it may name a collection, space or model; else raise `InvalidArgument` for `field`."""
    if not name:
        raise InvalidArgument(field, "is missing; name one, for example 'products'")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise InvalidArgument(
            field,
            f"{_shown(name)} is not a valid name; use lower-case letters, digits and single underscores, "
            f"starting with a letter, at most {MAX_NAME_BYTES} characters",
        )
    return name


def check_id(field: str, image_id: str) -> str:
    """Return `image_id` if it may identify an image (1 to 256 bytes of UTF-8, no control characters)."""
    if not image_id:
        raise InvalidArgument(field, "is empty")
    _check_text(field, image_id, MAX_ID_BYTES)
    return image_id


def check_uri(field: str, uri: str) -> str:
    """Return `uri` if it can be stored (at most 2,048 bytes of UTF-8, no control characters; may be empty)."""
    _check_text(field, uri, MAX_URI_BYTES)
    return uri


def check_prose(field: str, text: str, max_characters: int) -> str:
    """Return `text` for people, with line breaks as it may be, if it can be stored."""
    if len(text) > max_characters:
        raise InvalidArgument(field, f"is {len(text)} characters long; at most {max_characters} are allowed")
    if control_in_prose(text):
        raise InvalidArgument(field, f"{_shown(text)} holds control characters")
    return text


def control_in_prose(text: str) -> re.Match[str] | None:
    """The first control character or surrogate of `text` that is neither a tab nor a line break."""
    return _CONTROL_IN_PROSE.search(text)


def check_page_size(page_size: int) -> int:
    """Return `page_size` if a page may hold so much; else raise `InvalidArgument` ("page_size")."""
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidArgument("page_size", f"{page_size} is out of range; 1 to {MAX_PAGE_SIZE} are allowed")
    return page_size


def check_request_id(field: str, request_id: str) -> str:
    """Return `request_id` if it can make a request idempotent (1 to 128 of letters, digits and `._:-`)."""
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidArgument(field, f"{_shown(request_id)} must be 1 to 128 letters, digits or any of . _ : -")
    return request_id


def id_from_uri(uri: str) -> str:
    """The id of an image whose caller gave none: 32 hex digits of the SHA-256 of its URI. Two URIs that only look alike, such
    as one name in NFC and in NFD, are of two files."""
    return hashlib.sha256(uri.encode()).hexdigest()[:32]


def id_from_content(content: bytes) -> str:
    """The id of an uploaded image whose caller gave none: 32 hex digits of the SHA-256 of its bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def physical_name(collection: str, space: str, fingerprint: str) -> str:
    """The Milvus collection that holds one space of one collection: `{collection}__{space}__{fingerprint8}`."""
    return f"{alias_name(collection, space)}__{fingerprint[:8]}"


def alias_name(collection: str, space: str) -> str:
    """The alias kept for people and other tools: `{collection}__{space}`."""
    return f"{collection}__{space}"


def _check_text(field: str, text: str, max_bytes: int) -> None:
    size_bytes = len(text.encode("utf-8", "surrogatepass"))
    if size_bytes > max_bytes:
        raise InvalidArgument(field, f"is {size_bytes} bytes long; at most {max_bytes} are allowed")
    if _CONTROL.search(text):
        raise InvalidArgument(field, f"{_shown(text)} holds control characters")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
