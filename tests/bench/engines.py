"""`python -m tests.bench.engines`: the shipped towers by TensorFlow, with frozen weights (as served) and not, and by OpenVINO.

Not a part of `make bench`, which measures the default engine only. One thread and processor time, not the time on the wall: so
the figures hold on a busy machine too. Interleaved; medians, and the ratio to TensorFlow as the median of that of each round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from embedder.models.bundle import SHIPPED, load
from embedder.serving.openvino_engine import OpenVino

ROUNDS, SIZES, NAMES = 9, (1, 32), ("photo", "fashion")
_LEAST_S = 0.05
"""A round is so long at least, several times the clock's step."""


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    openvino = OpenVino(1)  # before TensorFlow is imported: where it is missing, that shows at once

    import tensorflow as tf

    from embedder.models.model import Model, set_up_tensorflow

    set_up_tensorflow("cpu", 1)
    for name in NAMES:
        model = Model(load(SHIPPED / name))
        tower = model.bundle.tower
        for size in SIZES:
            shape = (size, tower.input_size, tower.input_size, tower.channels)
            pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            served, compiled = model.traced(None), openvino.compile_tower(model, size)
            variables = tf.function(model.embed, input_signature=[tf.TensorSpec(shape, tf.uint8)]).get_concrete_function()
            runs: dict[str, Callable[[], object]] = {
                "tensorflow": lambda served=served, pixels=pixels: served(tf.constant(pixels)).numpy(),  # type: ignore[misc]
                "variables": lambda variables=variables, pixels=pixels: variables(tf.constant(pixels)).numpy(),  # type: ignore[misc]
                "openvino": lambda compiled=compiled, pixels=pixels: compiled(pixels),  # type: ignore[misc]
            }
            _show(f"{name}, {size}", _measured(runs))


def _measured(runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of processor time a call, by round."""
    for run in runs.values():
        run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            taken[name].append(_once(run))
    return taken


def _once(run: Callable[[], object]) -> float:
    begun_s, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - begun_s < _LEAST_S:
        run()
        calls += 1
    return (time.process_time() - begun_s) / calls


def _show(what: str, taken: dict[str, list[float]]) -> None:
    for name, rounds in taken.items():
        faster = median(base / own for base, own in zip(taken["tensorflow"], rounds, strict=True))
        print(f"{what:12} {name:12} {median(rounds) * 1000:8.2f} ms   {faster:.2f} times TensorFlow's rate")


if __name__ == "__main__":
    main()
