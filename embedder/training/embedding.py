"""Many pictures through a tower on any Keras backend, as a bundle would serve them.

`embedder.models.model` does it in TensorFlow.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt

from embedder.models.bundle import InputSpec

_BATCH_PIXELS = 256 * 64**2
"""Input pixels that go through a tower together: 256 pictures of 64x64, 20 of 224x224."""


def embed_pixels(
    tower: keras.Model,
    spec: InputSpec,
    pixels: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64] | None = None,
    *,
    mirror: bool = True,
) -> npt.NDArray[np.float32]:
    """The embeddings of `pixels` (uint8 `[n, side, side, channels]`), or of those `rows`: float32 `[n, dim]`, unit rows.

    Without `mirror` only the picture itself is embedded, also where `spec` asks for its mirror image too.
    """
    rows = np.arange(len(pixels)) if rows is None else rows
    # XLA pays off where JAX cannot do without it; on a CPU TensorFlow is faster without.
    tower.jit_compile = keras.config.backend() == "jax"
    parts = [np.zeros((0, tower.output_shape[-1]), np.float32)]
    batch = max(1, min(256, _BATCH_PIXELS // (pixels.shape[1] * pixels.shape[2])))
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        # Every batch of one shape, so that one trace serves them all.
        whole = np.zeros((min(batch, len(rows)), *pixels.shape[1:]), np.float32)
        whole[: len(chosen)] = spec.normalised(pixels[chosen])
        vectors = tower.predict_on_batch(whole)
        if mirror and spec.mirror:
            vectors = vectors + tower.predict_on_batch(whole[:, :, ::-1])
        parts.append(np.asarray(vectors, np.float32)[: len(chosen)])
    found = np.concatenate(parts)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)
