"""A model is its bundle at work, on the device that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from embedder.models.model import Device, Model, set_up_tensorflow
from lookalike.errors import FailedPrecondition, InvalidArgument
from tests.pictures.made_pictures import noise
from tests.servers.embedder import models, random_bundle


def test_mirrored_pictures_have_one_vector_where_the_bundle_says_so() -> None:
    small, colour = models()
    grey, rgb = noise(16, 16)[None, ..., None], noise(20, 20, 3)[None]
    np.testing.assert_allclose(small.embed(grey), small.embed(grey[:, :, ::-1]), atol=1e-5)
    assert not np.allclose(colour.embed(rgb), colour.embed(rgb[:, :, ::-1]), atol=1e-3)


def test_embedding_in_batches_changes_nothing() -> None:
    small, _ = models()
    pixels = np.stack([noise(16, 16, seed=n) for n in range(7)])[..., None]
    parts = [small.embed(pixels[start : start + 3]) for start in range(0, len(pixels), 3)]
    np.testing.assert_allclose(np.concatenate(parts), small.embed(pixels), atol=1e-5)


def test_weights_that_do_not_fit_the_tower_are_refused() -> None:
    bundle = random_bundle("small")
    for weights in (bundle.weights[:-1], (*bundle.weights[:-1], np.zeros(3, np.float32))):
        with pytest.raises(InvalidArgument) as refused:
            Model(replace(bundle, weights=weights))
        assert refused.value.field == "bundle"


def test_a_device_says_its_kind_and_its_name() -> None:
    assert str(Device("CPU", "CPU")) == "CPU"
    assert str(Device("GPU", "NVIDIA L4")) == "GPU (NVIDIA L4)"


def test_a_gpu_that_is_not_there_is_missed() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(FailedPrecondition) as refused:
        set_up_tensorflow("gpu", 1)
    assert refused.value.reason == "GPU_MISSING"
