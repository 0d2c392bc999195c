"""Parses filters before anything is called: on the loop where they are short. Called by the core's searches, lists and deletes.

What is parsed here is handed down with the request, so that no filter is parsed twice.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.backends.threads import off_loop
from lookalike.errors import BadFilter
from lookalike.filters.parsing import parse
from lookalike.records.filter import Condition
from lookalike.records.search_options import SearchOptions

_LONG_CHARACTERS = 256
"""The longest filter that is parsed on the loop: one of 4,096 characters takes 10 to 30 ms."""


def is_long(text: str) -> bool:
    """Whether a thread is to parse a filter of this `text`."""
    return len(text) > _LONG_CHARACTERS


async def parsed(text: str) -> Condition | None:
    """What a filter says; None where it holds always. Raises `BadFilter` with the column."""
    return await off_loop(lambda: parse(text), large=is_long(text))


async def with_condition(options: SearchOptions) -> SearchOptions:
    """`options` with what their filter says. Raises `BadFilter` with the column."""
    try:
        condition = await parsed(options.filter)
    except BadFilter as error:
        raise BadFilter(error.problem, field="options.filter") from None
    return options if condition is None else replace(options, condition=condition)
