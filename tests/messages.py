"""Makes messages of the contract from dictionaries, which protobuf takes for messages inside of one, and its stubs do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def made(kind: Callable[..., M], **fields: Any) -> M:
    """A message of `kind`."""
    return kind(**fields)
