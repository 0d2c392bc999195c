"""Vectors from OpenVINO are TensorFlow's, for what ships and for what is made up; and it reports to nobody that it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from embedder.models.bundle import SHIPPED, load
from embedder.models.model import Model
from embedder.pictures.decode import Decoder, TowerInput, Wanted
from embedder.serving.openvino_engine import OpenVino
from embedder.serving.spaces import ToCount, ToShow, TracedModel, Work
from lookalike.demo import dataset
from lookalike.errors import FailedPrecondition
from lookalike.spaces import HistogramSettings, Vector
from tests.pictures.made_pictures import encoded, noise
from tests.pictures.scenes import scene
from tests.servers.embedder import models, warm_spaces

LARGEST_BATCH = 4
LEAST_COSINE, LARGEST_DIFFERENCE = 0.9999, 1e-3


@pytest.fixture(scope="module")
def openvino() -> OpenVino:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: `make test-openvino`")
    return OpenVino(2)


def photographs() -> list[bytes]:
    return [encoded(scene(seed), "JPEG", quality=90) for seed in range(10)]


def clothes() -> list[bytes]:
    _, queries = dataset.split()
    return [queries.png(index) for index in range(0, 1000, 50)]


def vectors(model: TracedModel, images: Sequence[bytes]) -> Vector:
    """float32 `[n, dim]` by way of decoder and batch, in batches of every size."""
    tower, decoder = model.bundle.tower, Decoder()
    wanted = Wanted((1,), (TowerInput(tower.input_size, tower.channels, model.bundle.input.fit),))
    decoded = [decoder.decode(image, wanted) for image in images]
    works = [Work((ToCount(HistogramSettings(), one.canvas), ToShow(model, one.tower))) for one in decoded]
    batches: list[Any] = []
    start = 0
    while start < len(works):
        size = 1 + len(batches) % LARGEST_BATCH
        batches.append(works[start : start + size])
        start += size
    made = [one for batch in batches for one in warm_spaces().compute(batch)]
    assert all(histogram.sum() == pytest.approx(1, abs=1e-5) for histogram, _ in made)
    return np.stack([vector for _, vector in made])


@pytest.mark.parametrize(("name", "pictures"), [("fashion", clothes), ("photo", photographs), ("photo", clothes)])
def test_shipped_models_give_the_same_vectors_as_by_tensorflow(
    openvino: OpenVino, name: str, pictures: Callable[[], list[bytes]]
) -> None:
    model, images = Model(load(SHIPPED / name)), pictures()
    theirs = vectors(TracedModel(model, LARGEST_BATCH, openvino.compile_tower), images)
    ours = vectors(TracedModel(model, LARGEST_BATCH), images)
    assert theirs.dtype == np.float32
    assert (theirs * ours).sum(axis=1).min() >= LEAST_COSINE
    assert np.abs(theirs - ours).max() <= LARGEST_DIFFERENCE
    assert np.abs(ours[1:] - ours[:-1]).max() > 10 * LARGEST_DIFFERENCE  # the pictures are not one and the same


def test_mirrored_and_plain_towers_keep_their_batches_apart(openvino: OpenVino) -> None:
    for model, pixels in zip(models(), (noise(16, 16)[..., None], noise(20, 20, 3)), strict=True):
        traced = TracedModel(model, 2, openvino.compile_tower)
        works = [Work((ToShow(traced, shown),)) for shown in (pixels, pixels[::-1])]
        first = warm_spaces().compute(works)
        second = warm_spaces().compute(works[::-1])  # what was handed out is not written over by the next batch
        expected = model.embed(np.stack([pixels, pixels[::-1]])).numpy()
        np.testing.assert_allclose([vector for (vector,) in first], expected, atol=1e-5)
        np.testing.assert_allclose([vector for (vector,) in second], expected[::-1], atol=1e-5)


def test_warming_up_runs_every_size(openvino: OpenVino) -> None:
    reported: list[int] = []
    traced = TracedModel(models()[0], 6, openvino.compile_tower)
    traced.warm_up(lambda size, seconds: reported.append(size))
    assert reported == [1, 2, 4, 6]


def test_nothing_is_reported_to_its_makers(openvino: OpenVino) -> None:
    """In a process of its own: what is imported once cannot be seen to be left out."""
    script = (
        "import sys; from embedder.serving.openvino_engine import OpenVino; OpenVino(1); "
        "print([name for name, module in sys.modules.items() if name.startswith('openvino_telemetry') and module])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"


def test_where_it_is_not_installed_it_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(FailedPrecondition) as missed:
        OpenVino(1)
    assert missed.value.reason == "ENGINE_MISSING"
    assert "lookalike[embedder,openvino]" in missed.value.message


def test_a_tower_that_cannot_be_compiled_is_refused_by_its_name(openvino: OpenVino, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openvino._hints, "INFERENCE_NUM_THREADS", "many")
    with pytest.raises(FailedPrecondition, match="cannot run the model 'small'") as refused:
        openvino.compile_tower(models()[0], 1)
    assert refused.value.reason == "ENGINE_CANNOT"
    assert "\n" not in refused.value.message
