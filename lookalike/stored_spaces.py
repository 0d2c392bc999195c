"""Spaces as JSON, in the entries of the catalogue and in the descriptions of exports.

    {"name": "photo", "dimension": 384, "metric": "COSINE", "fingerprint": "0123456789abcdef", "model": {"name": "photo"}}

A histogram has its settings as `histogram` instead of `model`. Files of 0.1 say the kind elsewhere (`with_kinds`).

The defaults of a collection's searches stand beside its spaces: `{"spaces": ["photo"], "weights": {"photo": 2.0}, "ef": 128}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from lookalike.records.collection import CollectionDefaults
from lookalike.spaces import HISTOGRAM, HistogramSettings, Metric, ModelSettings, Space, SpaceKind, UnknownKind

_KINDS: Mapping[str, type[SpaceKind]] = {"histogram": HistogramSettings, "model": ModelSettings}
_NAMES = {record: name for name, record in _KINDS.items()}


def to_json(space: Space) -> dict[str, Any]:
    return {
        "name": space.name,
        "dimension": space.dimension,
        "metric": space.metric.value,
        "fingerprint": space.fingerprint,
        **({} if isinstance(space.kind, UnknownKind) else {_NAMES[type(space.kind)]: asdict(space.kind)}),
    }


def from_json(stored: Mapping[str, Any]) -> Space:
    """Raises `KeyError`, `TypeError`, `ValueError` and `InvalidArgument` for what `to_json` cannot have written. Name,
    dimension and fingerprint are not checked."""
    (kind,) = [name for name in _KINDS if name in stored]
    settings = _KINDS[kind](**stored[kind])
    return Space(stored["name"], stored["dimension"], Metric(stored["metric"]), stored["fingerprint"], settings)


def defaults_from_json(stored: Mapping[str, Any]) -> CollectionDefaults:
    """The defaults, which `asdict` wrote; none for {}. Raises as `from_json`."""
    spaces, weights = stored.get("spaces", []), stored.get("weights", {})
    if not isinstance(spaces, list | tuple) or not all(isinstance(name, str) for name in [*spaces, *weights]):
        raise TypeError("defaults do not name spaces")
    return CollectionDefaults(
        tuple(spaces), {name: float(weight) for name, weight in weights.items()}, int(stored.get("ef", 0))
    )


def with_kinds(spaces: Iterable[Mapping[str, Any]], histogram: object, model: str) -> list[dict[str, Any]]:
    """The spaces of 0.1, where the settings of the space `histogram` and the model of the other space stand beside them."""
    return [
        {**space, "histogram": histogram} if space["name"] == HISTOGRAM else {**space, "model": {"name": model}}
        for space in spaces
    ]
