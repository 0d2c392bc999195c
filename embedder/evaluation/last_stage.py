"""What near-duplicates are usually searched with, to measure against: the last stage of an ImageNet network, averaged.

Owns that baseline of `embedder.evaluation.attacks`: EfficientNet-Lite0's 1280 numbers, by cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from embedder.models import efficientnet_lite0 as network
from embedder.models import pretrained
from embedder.pictures.decode import Decoder, TowerInput, Wanted


class LastStage:
    """Built with the weights that come with the package."""

    def __init__(self) -> None:
        side = network.INPUT_SIZE
        pixels = keras.Input((side, side, 3))
        model = keras.Model(pixels, network.last_stage(network.feature_maps(pixels)[-1]))
        pretrained.fill(model, pretrained.efficientnet_lite0_weights(pretrained.IMAGENET))
        self._wanted = Wanted(towers=(TowerInput(side, 3, network.INPUT.fit),))
        spec = tf.TensorSpec((None, side, side, 3), tf.float32)
        self._embed = tf.function(lambda inputs: model(inputs, training=False), input_signature=[spec])

    def vectors(self, files: Sequence[bytes], decoder: Decoder) -> npt.NDArray[np.float32]:
        """Encoded pictures -> float32 `[n, 1280]`, not normalised."""
        pixels = np.stack([decoder.decode(data, self._wanted).tower for data in files])
        vectors: npt.NDArray[np.float32] = self._embed(network.INPUT.normalised(pixels)).numpy()
        return vectors
