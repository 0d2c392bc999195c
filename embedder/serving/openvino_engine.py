"""Towers compiled by OpenVINO instead of TensorFlow: an engine for CPUs, installed by the extra `[openvino]`.

Owns all that is asked of OpenVINO, and alone imports it. `embedder.__main__` makes the engine where the settings ask for it,
and `embedder.serving.spaces` calls the towers that it compiles; histograms are counted by TensorFlow with either engine.

The fingerprints of spaces do not name the engine: in float32, which is all it may compute in, vectors differ from TensorFlow's
by less than TensorFlow's own do between processors with other kernels, and by far less than neighbours differ.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.pictures.decode import Pixels
from lookalike.errors import FailedPrecondition
from lookalike.spaces import Vector

if TYPE_CHECKING:
    from embedder.models.model import Model

_PRECISION = "f32"
"""Left to itself OpenVINO computes in bfloat16 where the processor can, and vectors would depend on the machine."""


class OpenVino:
    """The engine, with `threads` threads in all. Thread-safe; a tower that it has compiled is called from one thread.

    Raises `FailedPrecondition` (`ENGINE_MISSING`) where OpenVINO is not installed.
    """

    def __init__(self, threads: int) -> None:
        self._openvino = _imported()
        self._core = self._openvino.Core()
        self._hints = {
            "INFERENCE_PRECISION_HINT": _PRECISION,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,  # one batch at a time, on all threads: the batcher computes no two at once
        }

    def compile_tower(self, model: Model, size: int) -> Callable[[Pixels], Vector]:
        """The tower of `model` for exactly `size` pictures: uint8 `[size, side, side, channels]` -> float32 `[size, dim]`, a
        new array with each call.

        Raises `FailedPrecondition` (`ENGINE_CANNOT`) for a tower that OpenVINO cannot convert or compile.
        """
        # One for each size: compiled for any size, a picture alone takes 8 to 10 % longer, and 32 of `photo` some 8 % less.
        frontend = self._openvino.frontend
        try:
            converted = self._openvino.convert_model(model.traced(size))
            compiled = self._core.compile_model(converted, "CPU", self._hints)
        except (RuntimeError, frontend.OpConversionFailure, frontend.GeneralFailure, frontend.NotImplementedFailure) as error:
            said = str(error).strip().partition("\n")[0]
            raise FailedPrecondition(
                f"OpenVINO cannot run the model {model.bundle.name!r}: {said}", reason="ENGINE_CANNOT"
            ) from error
        request = compiled.create_infer_request()

        def embed(pixels: Pixels) -> Vector:
            request.infer([np.ascontiguousarray(pixels)], share_inputs=True)
            return np.array(request.get_output_tensor().data, np.float32)

        return embed


def _imported() -> Any:
    """OpenVINO, kept from reporting to its makers. An import sends an event to a server of theirs unless the user once said no
    ("OpenVINO Telemetry" in its docs); where its package for that cannot be imported it goes without, and so it does here."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an import of it fails
    try:
        import openvino
    except ImportError as error:
        raise FailedPrecondition(
            "LOOKALIKE_EMBEDDER_ENGINE asks for openvino, which is not installed: install lookalike[embedder,openvino], or "
            "leave the setting at tensorflow",
            reason="ENGINE_MISSING",
        ) from error
    return openvino
