"""The shipped pictures are all there; broken files are refused by name."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from lookalike import fashion_mnist
from lookalike.errors import InvalidArgument, NotFound


def test_the_shipped_split_is_the_whole_test_split() -> None:
    split = fashion_mnist.load("test", fashion_mnist.SHIPPED)
    assert split.images.shape == (10_000, 28, 28)
    assert np.bincount(split.labels).tolist() == [1000] * 10
    # The first label of the published file is an ankle boot, the last a sandal.
    assert [fashion_mnist.CLASS_NAMES[split.labels[i]] for i in (0, -1)] == ["Ankle boot", "Sandal"]
    assert split.images.mean() == pytest.approx(73.15, abs=0.01)


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=str(tmp_path)):
        fashion_mnist.load("train", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x0d\x01\x00\x00\x00\x01", b"\x00\x00\x08\x01\x00\x00\x00\x09abc"])
def test_a_file_that_is_not_idx_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InvalidArgument, match=r"broken\.gz"):
        fashion_mnist.read_idx(path)
