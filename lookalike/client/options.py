"""The options of `Client.search` and `Client.search_many`: given by keyword, checked here, and gathered in one value.

A new option is a line in `SearchKeywords` and a parameter of `search_options`. Functions that pass options on do not name them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypedDict, TypeVar

from lookalike.client import _arguments
from lookalike.client._arguments import flag, member, text, texts, whole
from lookalike.records.image import Consistency, ImageView
from lookalike.records.search_options import DEFAULT_TOP_K, SearchOptions

P = ParamSpec("P")
R = TypeVar("R")


class SearchKeywords(TypedDict, total=False):
    """The keywords of a search; see `Client.search`."""

    spaces: Sequence[str] | str
    top_k: int | None
    filter: str
    weights: Mapping[str, float] | None
    ef: int
    consistency: Consistency | str
    view: ImageView | str
    include_query_vectors: bool


def search_options(
    *,
    spaces: Sequence[str] | str = (),
    top_k: int | None = None,
    filter: str = "",  # noqa: A002 - the contract's own word
    weights: Mapping[str, float] | None = None,
    ef: int = 0,
    consistency: Consistency | str = Consistency.BOUNDED,
    view: ImageView | str = ImageView.BASIC,
    include_query_vectors: bool = False,
) -> SearchOptions:
    """The options as one value. Raises `InvalidArgument` for the first of a wrong type."""
    return SearchOptions(
        spaces=texts("spaces", spaces),
        top_k=DEFAULT_TOP_K if top_k is None else whole("top_k", top_k, "1 to 1,000"),
        filter=text("filter", filter),
        weights=_arguments.weights(weights),
        ef=whole("ef", ef, "0, and top_k to 32,768,"),
        consistency=member("consistency", consistency, Consistency),
        view=member("view", view, ImageView),
        include_query_vectors=flag("include_query_vectors", include_query_vectors),
    )


def names_options(method: Callable[P, R]) -> Callable[P, R]:
    """`method`, which takes `**options`, with a signature that names the options, for `help`, notebooks and editors."""
    own = inspect.signature(method)
    named = inspect.signature(search_options).parameters.values()
    kept = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    method.__signature__ = own.replace(parameters=[*kept, *named])  # type: ignore[attr-defined]
    return method
