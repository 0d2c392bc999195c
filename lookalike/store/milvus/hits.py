"""From Milvus' answer to a search to hits with true distances. Used by `vectors` only."""

from __future__ import annotations

import math
from typing import Any

from lookalike.records.image import Hit
from lookalike.spaces import Metric, Space
from lookalike.store.milvus.schema import ID, from_row, row_vector


def to_hits(answer: Any, space: Space, include_vectors: bool) -> list[Hit]:
    """The hits of one query: nearest first, of equal distance by id. `answer` is what pymilvus gives for one query."""
    hits = []
    for found in answer:
        row = {**found["entity"], ID: found["id"]}
        vectors = {space.name: row_vector(row)} if include_vectors else {}
        hits.append(Hit(from_row(row, vectors), _distance(float(found["distance"]), space.metric)))
    return sorted(hits, key=lambda hit: (hit.distance, hit.image.id))


def _distance(score: float, metric: Metric) -> float:
    """Milvus returns the squared L2 distance, and the cosine itself (its documentation, "Metric types")."""
    return math.sqrt(max(0.0, score)) if metric is Metric.L2 else max(0.0, 1.0 - score)
