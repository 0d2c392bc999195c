"""Looks at filters before anything is called: on the loop where they are short. Called by the core's searches and lists."""

from __future__ import annotations

from gateway.backends.threads import off_loop
from lookalike.filters.parsing import parse

_LONG_CHARACTERS = 256
"""A filter of 4,096 characters takes 10 to 30 ms to parse."""


def is_long(text: str) -> bool:
    """Whether a thread is to parse it."""
    return len(text) > _LONG_CHARACTERS


async def check_filter(text: str) -> None:
    """Raises `BadFilter` with the column."""
    await off_loop(lambda: parse(text), large=is_long(text))
