"""Checks the defaults of a collection's searches. Called by `collections`; `gateway.search.plan` reads them."""

from __future__ import annotations

import math
from collections.abc import Collection as Sized
from collections.abc import Mapping

from lookalike.errors import InvalidArgument, NotFound
from lookalike.names import MAX_EF
from lookalike.records.collection import CollectionDefaults


def check_defaults(field: str, defaults: CollectionDefaults, spaces: Sized[str]) -> None:
    """Raise `InvalidArgument` for defaults that no search of a collection with `spaces` can have, and `NotFound` (space)."""
    for index, name in enumerate(defaults.spaces):
        _check_space(f"{field}.spaces[{index}]", name, spaces)
        if name in defaults.spaces[:index]:
            raise InvalidArgument(f"{field}.spaces[{index}]", f"{name!r} is named more than once")
    _check_weights(f"{field}.weights", defaults.weights, spaces)
    if not 0 <= defaults.ef <= MAX_EF:
        problem = f"{defaults.ef} is out of range; 1 to {MAX_EF} are allowed, 0 leaves it to the search"
        raise InvalidArgument(f"{field}.ef", problem)


def _check_weights(field: str, weights: Mapping[str, float], spaces: Sized[str]) -> None:
    for name, weight in weights.items():
        _check_space(f"{field}.{name}", name, spaces)
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidArgument(f"{field}.{name}", f"{weight:g} is not allowed; weights are above 0")


def _check_space(field: str, name: str, spaces: Sized[str]) -> None:
    if name not in spaces:
        raise NotFound("space", name, hint=f"the collection has {', '.join(spaces)}", field=field)
