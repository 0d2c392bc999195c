"""Parses filters before anything is called: on the loop where they are short. Called by the core's searches, lists and deletes.

What is parsed here is handed down with the request, so that no filter is parsed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.backends.threads import off_loop
from lookalike.errors import LookalikeError
from lookalike.filters.parsing import parse
from lookalike.records.filter import Condition
from lookalike.records.search import Query

_LONG_CHARACTERS = 256
"""The longest filter that is parsed on the loop: one of 4,096 characters takes 10 to 30 ms."""


def is_long(text: str) -> bool:
    """Whether a thread is to parse a filter of this `text`."""
    return len(text) > _LONG_CHARACTERS


async def parsed(text: str) -> Condition | None:
    """What a filter says; None where it holds always. Raises `BadFilter` with the column."""
    return await off_loop(lambda: parse(text), large=is_long(text))


async def with_condition(query: Query) -> Query:
    """`query` with what its filter says. Raises `BadFilter` with the column."""
    return _with(query, await parsed(query.options.filter))


async def with_conditions(queries: Sequence[Query | LookalikeError]) -> list[Query | LookalikeError]:
    """`queries` with what their filters say, each text parsed once; errors stay. Raises `BadFilter` with the column."""
    texts = {query.options.filter for query in queries if isinstance(query, Query)}
    conditions = {text: await parsed(text) for text in texts}
    return [_with(query, conditions[query.options.filter]) if isinstance(query, Query) else query for query in queries]


def _with(query: Query, condition: Condition | None) -> Query:
    return query if condition is None else replace(query, options=replace(query.options, condition=condition))
