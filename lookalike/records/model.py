"""The embedder's answers: the spaces of a model, and the embedding of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lookalike.errors import LookalikeError
from lookalike.spaces import HistogramSettings, Space, Vector

Embedding: TypeAlias = Mapping[str, Vector] | LookalikeError
"""The outcome of one picture: its vectors (float32 `[dimension]`) by name of the space, or its error."""


@dataclass(frozen=True, slots=True)
class Description:
    """The model, histogram settings and spaces of a new collection, as the embedder would fill it."""

    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
