"""A model at work: a bundle's tower, from pixels to unit vectors.

Owns what TensorFlow runs for the `siamese` space, the choice of device and how towers run on it. `embedder.serving.spaces` puts
it beside the histogram; the trainer measures a bundle through it, so that the figures shipped are those of the serving path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import tensorflow as tf
from prometheus_client import Gauge

from embedder.models.bundle import Bundle
from embedder.models.gpu_wait import GPU_MISSING
from embedder.models.tower import build_tower
from lookalike.errors import FailedPrecondition, InvalidArgument

GPU_MEMORY_BYTES = Gauge(
    "lookalike_embedder_gpu_memory_bytes",
    "Memory of the GPU that TensorFlow has in use: current, and peak since the start. Only where there is a GPU.",
    ("kind",),
)
_FIRST_GPU = "GPU:0"
"""The one that towers run on."""


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
            reason=GPU_MISSING,
        )
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))  # two branches: the histogram and the tower
    if wanted == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return Device("CPU", "CPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return pick_device()


def publish_gpu_memory(device: Device) -> None:
    """Let every scrape read how much of the GPU's memory TensorFlow has taken; nothing on a CPU."""
    if device.kind == "GPU":
        for kind in ("current", "peak"):
            GPU_MEMORY_BYTES.labels(kind).set_function(partial(_gpu_memory_bytes, kind))


def _gpu_memory_bytes(kind: str) -> float:
    return float(tf.config.experimental.get_memory_info(_FIRST_GPU)[kind])


@dataclass(frozen=True, slots=True)
class Execution:
    """How towers run on a device. `pixels_at_once`: the most that go through a tower together, pictures times their area (0:
    a whole batch). `compiled`: by XLA, once for each size of batch. `precision`: Keras' policy, what layers compute in."""

    pixels_at_once: int
    compiled: bool
    precision: Literal["float32", "mixed_float16"]

    def pictures_at_once(self, side: int, most: int) -> int:
        """How many pictures of `side` pixels go through a tower together, of at most `most`."""
        return min(most, max(1, self.pixels_at_once // side**2)) if self.pixels_at_once else most


ON_CPU = Execution(pixels_at_once=8 * 224 * 224, compiled=False, precision="float32")
"""Beyond eight pictures of 224 pixels two cores gained no rate with `photo` (measured), while each doubling adds 100 MB of
activations, which oneDNN keeps."""
ON_GPU = Execution(pixels_at_once=0, compiled=True, precision="mixed_float16")
"""In mixed precision vectors of `photo` are within 2e-5 (1 - cos) of those in float32, and of `fashion` within 3e-6 (measured
on a CPU): far nearer than neighbours are to each other, so that the fingerprint does not name it."""


def execution_on(device: Device) -> Execution:
    return ON_GPU if device.kind == "GPU" else ON_CPU


class Model:
    """A bundle built and loaded. `embed` is a plain graph function; call it inside or outside a `tf.function`.

    `precision` is what its layers compute in, as `Execution` has it; vectors are float32. Raises `InvalidArgument` where the
    bundle's weights do not fit its tower.
    """

    def __init__(self, bundle: Bundle, precision: str = "float32") -> None:
        self.bundle = bundle
        self._tower = build_tower(bundle.tower, precision=precision)
        try:
            self._tower.set_weights(list(bundle.weights))
        except ValueError as error:
            raise InvalidArgument("bundle", f"the weights of {bundle.name!r} do not fit its tower") from error
        self._tower.trainable = False
        self._mean = tf.constant(bundle.input.mean, tf.float32)
        self._scale = tf.constant([1.0 / std for std in bundle.input.std], tf.float32)

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """uint8 `[n, side, side, channels]`, fitted as the input spec says -> float32 `[n, dim]`, rows of length 1."""
        return self._embedded(pixels, lambda inputs: self._tower(inputs, training=False))

    def frozen(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """`embed` for the graph that it is traced into, with the weights as constants of that graph; call it outside of one.

        TensorFlow then folds normalisations into convolutions, and oneDNN lays the weights out once and not with every batch:
        1.25 times as many batches of `photo` in a second of processor time (`python -m tests.bench.engines`).
        """
        weights = [np.asarray(variable) for variable in self._tower.non_trainable_variables]  # nothing in it is trainable

        def run(inputs: tf.Tensor) -> tf.Tensor:
            vectors, _ = self._tower.stateless_call([], [tf.constant(array) for array in weights], inputs, training=False)
            return vectors

        return lambda pixels: self._embedded(pixels, run)

    def traced(self, size: int | None) -> Callable[[tf.Tensor], tf.Tensor]:
        """`frozen`, traced for exactly `size` pictures, or for any number."""
        tower = self.bundle.tower
        shown = tf.TensorSpec((size, tower.input_size, tower.input_size, tower.channels), tf.uint8)
        function: Callable[[tf.Tensor], tf.Tensor] = tf.function(self.frozen(), input_signature=[shown]).get_concrete_function()
        return function

    def _embedded(self, pixels: tf.Tensor, run: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        inputs = (tf.cast(pixels, tf.float32) / 255.0 - self._mean) * self._scale
        if not self.bundle.input.mirror:
            return run(inputs)
        both = run(tf.concat([inputs, tf.reverse(inputs, [2])], 0))
        return tf.math.l2_normalize(both[: tf.shape(pixels)[0]] + both[tf.shape(pixels)[0] :], axis=-1)
