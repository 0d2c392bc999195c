"""The options of a search, as one value.

The edges make it (from a message, a body, keyword arguments, a command's options). The value is handed on whole to the code
that uses it: nothing in between knows its fields. `lookalike.wire.search_options` copies it by the names of its fields.
A new option is a field of the contract and of this record, a keyword of the client, and is read where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lookalike.records.filter import Condition
from lookalike.records.image import Consistency, ImageView

DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The names, ranges and defaults are those of the contract's `SearchOptions`. Nothing is checked here."""

    spaces: tuple[str, ...] = ()
    """Empty: those of the collection's defaults, or its default space; for a query by vectors those of its vectors."""
    top_k: int = DEFAULT_TOP_K
    filter: str = ""
    condition: Condition | None = field(default=None, compare=False)
    """The parsed `filter`, where an edge has parsed it; `lookalike.filters.parsing.condition_of` reads it."""
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Weights by name of the space; a space that is not named weighs 1. Compared, but not hashed, since a mapping cannot be."""
    ef: int = 0
    """Breadth of the HNSW search. 0: that of the collection's defaults, or max(64, 2 * `top_k`)."""
    consistency: Consistency = Consistency.BOUNDED
    view: ImageView = ImageView.BASIC
    include_query_vectors: bool = False

    def of_space(self, top_k: int, ef: int) -> SearchOptions:
        """The options of the store's search in one space, for `top_k` candidates with breadth `ef`.

        Options of other spaces and of the query's own vectors have their defaults, so that searches that differ only there are
        equal.
        """
        return replace(self, top_k=top_k, ef=ef, spaces=(), weights={}, include_query_vectors=False)
