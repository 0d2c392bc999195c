"""How much of the GPU's memory TensorFlow has taken, for Prometheus. Called once, by `__main__`."""

from __future__ import annotations

from functools import partial

import tensorflow as tf
from prometheus_client import Gauge

from embedder.models.model import Device

GPU_MEMORY_BYTES = Gauge(
    "lookalike_embedder_gpu_memory_bytes",
    "Memory of the GPU that TensorFlow has in use: current, and peak since the start. Only where there is a GPU.",
    ("kind",),
)
_FIRST_GPU = "GPU:0"
"""The one that towers run on."""


def publish_gpu_memory(device: Device) -> None:
    """Let every scrape read it from now on; nothing on a CPU."""
    if device.kind == "GPU":
        for kind in ("current", "peak"):
            GPU_MEMORY_BYTES.labels(kind).set_function(partial(_bytes, kind))


def _bytes(kind: str) -> float:
    return float(tf.config.experimental.get_memory_info(_FIRST_GPU)[kind])
