"""The embedder's answer for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from lookalike.errors import LookalikeError
from lookalike.spaces import Vector

Embedding: TypeAlias = Mapping[str, Vector] | LookalikeError
"""The outcome of one picture: its vectors (float32 `[dimension]`) by name of the space, or its error."""
