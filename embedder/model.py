"""A model at work: a bundle's tower behind one traced function, from pixels to unit vectors.

Owns what TensorFlow runs for the `siamese` space and the choice of device. `embedder.spaces` puts it beside the histogram;
the trainer measures a bundle through it, so that the figures shipped are those of the serving path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from embedder.bundle import Bundle
from embedder.tower import build_tower
from lookalike.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, slots=True)
class Device:
    """Where TensorFlow runs: `kind` is `GPU` or `CPU`, `name` the hardware's own name where TensorFlow knows it."""

    kind: str
    name: str

    def __str__(self) -> str:
        return self.kind if self.name == self.kind else f"{self.kind} ({self.name})"


def pick_device() -> Device:
    """The first GPU that TensorFlow sees, else the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return Device("CPU", "CPU")
    details = tf.config.experimental.get_device_details(gpus[0])
    return Device("GPU", str(details.get("device_name", gpus[0].name)))


def set_up_tensorflow(wanted: Literal["auto", "gpu", "cpu"], threads: int) -> Device:
    """Choose the device for this process and let one operation use up to `threads` cores. Before TensorFlow's first use.

    GPU memory is taken as needed, so that others may share the GPU. Raises `FailedPrecondition` (`GPU_MISSING`) where a GPU is
    asked for and TensorFlow sees none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if wanted == "gpu" and not gpus:
        raise FailedPrecondition(
            "a GPU is asked for, but TensorFlow sees none: check the driver, that the package is installed with "
            "[embedder-gpu], and that the container may use the GPU",
            reason="GPU_MISSING",
        )
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))  # two branches: the histogram and the tower
    if wanted == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return Device("CPU", "CPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return pick_device()


class Model:
    """A bundle built and loaded. `embed` is a plain graph function; call it inside or outside a `tf.function`.

    Raises `InvalidArgument` where the bundle's weights do not fit its tower.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._tower = build_tower(bundle.tower)
        try:
            self._tower.set_weights(list(bundle.weights))
        except ValueError as error:
            raise InvalidArgument("bundle", f"the weights of {bundle.name!r} do not fit its tower") from error
        self._tower.trainable = False
        self._mean = tf.constant(bundle.input.mean, tf.float32)
        self._scale = tf.constant([1.0 / std for std in bundle.input.std], tf.float32)

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """uint8 `[n, side, side, channels]`, fitted as the input spec says -> float32 `[n, dim]`, rows of length 1."""
        inputs = (tf.cast(pixels, tf.float32) / 255.0 - self._mean) * self._scale
        if not self.bundle.input.mirror:
            return self._tower(inputs, training=False)
        both = self._tower(tf.concat([inputs, tf.reverse(inputs, [2])], 0), training=False)
        return tf.math.l2_normalize(both[: tf.shape(pixels)[0]] + both[tf.shape(pixels)[0] :], axis=-1)

    def traced(self, size: int) -> Callable[[tf.Tensor], tf.Tensor]:
        """`embed` as a concrete function of exactly `size` pictures."""
        tower = self.bundle.tower
        shown = tf.TensorSpec((size, tower.input_size, tower.input_size, tower.channels), tf.uint8)
        function: Callable[[tf.Tensor], tf.Tensor] = tf.function(self.embed, input_signature=[shown]).get_concrete_function()
        return function


def embed_all(model: Model, pixels: npt.NDArray[np.uint8], batch_size: int = 256) -> npt.NDArray[np.float32]:
    """Embed many pictures of the tower's own size: uint8 `[n, side, side, channels]` -> float32 `[n, dim]`."""
    traced = tf.function(model.embed, input_signature=[tf.TensorSpec((None, *pixels.shape[1:]), tf.uint8)])
    parts = [traced(pixels[i : i + batch_size]).numpy() for i in range(0, len(pixels), batch_size)]
    return np.concatenate(parts)
