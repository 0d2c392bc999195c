"""What the embedder says of a model, and what becomes of a picture that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lookalike.errors import LookalikeError
from lookalike.spaces import HistogramSettings, Space, Vector

Embedding: TypeAlias = Mapping[str, Vector] | LookalikeError
"""What became of one picture: its vectors (float32 `[dimension]`) by name of the space, or why it has none."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the embedder would fill a new collection with."""

    model: str
    histogram: HistogramSettings
    spaces: tuple[Space, ...]
