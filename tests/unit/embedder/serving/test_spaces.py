"""Every space of a batch: counts are exact, vectors are the towers' own, and none costs the others anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from embedder.models.model import ON_CPU, ON_GPU, Model
from embedder.serving.spaces import Embedded, ToCount, ToShow, TracedModel, Work, batch_sizes
from lookalike.spaces import HistogramSettings, Vector
from tests.pictures.made_pictures import noise
from tests.servers.embedder import LARGEST_BATCH, models, random_bundle, traced, warm_spaces


def canvas(height: int, width: int, settings: HistogramSettings, seed: int = 0) -> Any:
    return noise(height, width, 3, seed=seed)[..., : settings.channels]


def counted(pixels: Any, settings: HistogramSettings) -> Vector:
    """The definition, cell by cell with NumPy's own histogram: row `r` lies in cell `r * grid // height`."""
    height, width, channels = pixels.shape
    rows = np.arange(height) * settings.grid // height
    columns = np.arange(width) * settings.grid // width
    counts = [
        np.histogram(pixels[rows == i][:, columns == j][..., channel], settings.bins, (0, 256))[0]
        for i in range(settings.grid)
        for j in range(settings.grid)
        for channel in range(channels)
    ]
    return np.concatenate(counts).astype(np.float32) / np.float32(pixels.size)


def histograms(works: Sequence[Work]) -> list[Vector]:
    made: list[Embedded] = warm_spaces().compute(works)
    return [histogram for (histogram,) in made]


def to_count(settings: HistogramSettings, pixels: Any) -> Work:
    return Work((ToCount(settings, pixels),))


def to_show(model: TracedModel, inputs: Sequence[Any]) -> list[Work]:
    return [Work((ToShow(model, pixels),)) for pixels in inputs]


@pytest.mark.parametrize("bins", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("grid", [1, 3, 6])
def test_counts_equal_numpys_exactly(bins: int, color: bool, grid: int) -> None:
    settings = HistogramSettings(bins, grid, color)
    pixels = canvas(30, 41, settings)
    (made,) = histograms([to_count(settings, pixels)])
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, counted(pixels, settings))
    assert made.sum() == pytest.approx(1, abs=1e-5)


def test_every_value_falls_in_its_bin() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for bins in (8, 256):
        (made,) = histograms([to_count(HistogramSettings(bins), every)])
        assert made.tolist() == [1 / bins] * bins


def test_a_full_size_canvas_of_one_value_is_one_bin() -> None:
    (made,) = histograms([to_count(HistogramSettings(), np.full((256, 256, 1), 200, np.uint8))])
    assert made[200] == 1.0
    assert np.count_nonzero(made) == 1


def test_pictures_smaller_than_the_grid_still_sum_to_one() -> None:
    settings = HistogramSettings(8, 8)
    (made,) = histograms([to_count(settings, canvas(3, 1, settings))])
    np.testing.assert_array_equal(made, counted(canvas(3, 1, settings), settings))


def test_one_batch_holds_every_mixture_in_order() -> None:
    small, colour = traced()
    plain, grid, rgb = HistogramSettings(), HistogramSettings(16, 4), HistogramSettings(256, 2, True)
    grey_input, rgb_input = noise(16, 16)[..., None], noise(20, 20, 3)
    works = [
        Work((ToCount(plain, canvas(28, 28, plain, 1)), ToShow(small, grey_input))),
        Work((ToCount(rgb, canvas(9, 200, rgb, 2)),)),
        Work((ToShow(colour, rgb_input),)),
        Work((ToShow(small, grey_input[::-1]), ToCount(grid, canvas(50, 20, grid, 3)))),
        Work((ToCount(plain, canvas(5, 5, plain, 4)), ToShow(colour, rgb_input[::-1]))),
        Work((ToCount(grid, canvas(7, 7, grid, 5)), ToShow(colour, rgb_input), ToCount(plain, canvas(7, 7, plain, 5)),
              ToCount(rgb, canvas(7, 7, rgb, 5)), ToShow(small, grey_input))),
        Work(()),
    ]  # fmt: skip
    made = warm_spaces().compute(works)
    for work, vectors in zip(works, made, strict=True):
        for part, vector in zip(work.parts, vectors, strict=True):
            if isinstance(part, ToCount):
                np.testing.assert_array_equal(vector, counted(part.canvas, part.settings))
            else:
                model = dict(zip(traced(), models(), strict=True))[part.model]
                np.testing.assert_allclose(vector, model.embed(part.pixels[None])[0], atol=1e-5)


@pytest.mark.parametrize("count", range(1, LARGEST_BATCH + 1))
def test_filling_a_batch_up_changes_no_vector(count: int) -> None:
    (small, _), (small_model, _) = traced(), models()
    inputs = [noise(16, 16, seed=n)[..., None] for n in range(count)]
    made = warm_spaces().compute(to_show(small, inputs))
    expected = small_model.embed(np.stack(inputs)).numpy()
    np.testing.assert_allclose([vector for (vector,) in made], expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)
    assert len({vector.round(3).tobytes() for (vector,) in made}) == count  # the rows are not one and the same


class CountingModel(Model):
    """Notes how many pictures its tower runs with, when the graph runs (not when it is traced)."""

    def __init__(self) -> None:
        super().__init__(random_bundle("small"))
        self.runs: list[int] = []

    def frozen(self) -> Callable[[tf.Tensor], tf.Tensor]:
        embed = super().frozen()

        def count(unchanged: Any) -> Any:
            self.runs.append(len(unchanged))
            return unchanged

        def counted_embed(pixels: tf.Tensor) -> tf.Tensor:
            counted_pixels = tf.numpy_function(count, [pixels], tf.uint8)
            counted_pixels.set_shape(pixels.shape)
            return embed(counted_pixels)

        return counted_embed


def test_a_histogram_alone_never_runs_the_tower() -> None:
    model = CountingModel()
    small = TracedModel(model, 2)
    settings = HistogramSettings()
    warm_spaces().compute([to_count(settings, canvas(4, 4, settings))] * 2)
    assert model.runs == []
    warm_spaces().compute([Work((ToCount(settings, canvas(4, 4, settings)), ToShow(small, noise(16, 16)[..., None])))] * 2)
    assert model.runs == [2]


def test_warming_up_runs_the_smallest_and_the_largest_batch_with_and_without_a_histogram() -> None:
    model, reported = CountingModel(), list[int]()
    TracedModel(model, 6).warm_up(lambda size, seconds: reported.append(size))
    assert reported == [1, 6]
    assert model.runs == [1, 1, 6, 6]


def test_compiled_towers_are_warmed_up_in_every_size_and_give_the_same_vectors() -> None:
    model, reported = Model(random_bundle("small")), list[int]()
    small = TracedModel(model, 3, execution=replace(ON_CPU, compiled=True))
    small.warm_up(lambda size, seconds: reported.append(size))
    assert reported == [1, 2, 3]
    inputs = [noise(16, 16, seed=n)[..., None] for n in range(3)]
    made = warm_spaces().compute(to_show(small, inputs))
    np.testing.assert_allclose([vector for (vector,) in made], model.embed(np.stack(inputs)), atol=1e-5)


def test_what_a_gpu_computes_in_turns_no_vector() -> None:
    bundle = random_bundle("small")
    inputs = np.stack([noise(16, 16, seed=n)[..., None] for n in range(8)])
    mixed, plain = Model(bundle, ON_GPU.precision).embed(inputs), Model(bundle).embed(inputs)
    assert mixed.dtype == tf.float32
    np.testing.assert_allclose(np.sum(mixed * plain, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-5)


def test_no_more_go_through_the_tower_at_once_than_the_device_is_good_for() -> None:
    model, settings = CountingModel(), HistogramSettings()
    inputs = [noise(16, 16, seed=n)[..., None] for n in range(11)]
    small = TracedModel(model, 32, execution=replace(ON_CPU, pixels_at_once=4 * 16 * 16 + 255))
    canvases = [canvas(4, 4, settings, n) for n in range(11)]
    works = [Work((ToCount(settings, one), ToShow(small, pixels))) for one, pixels in zip(canvases, inputs, strict=True)]
    made = warm_spaces().compute(works)
    assert model.runs == [4, 4, 4]  # the last one filled up
    np.testing.assert_allclose([vector for _, vector in made], model.embed(np.stack(inputs)), atol=1e-5)
    for pixels, (histogram, _) in zip(canvases, made, strict=True):
        np.testing.assert_array_equal(histogram, counted(pixels, settings))


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (32, (1, 2, 4, 8, 16, 32)), (48, (1, 2, 4, 8, 16, 32, 48))]
)
def test_batch_sizes_are_few_and_end_with_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert batch_sizes(largest) == sizes


def test_a_works_size_counts_what_the_graph_is_given() -> None:
    counts = ToCount(HistogramSettings(), np.zeros((10, 10, 1), np.uint8))
    shown = ToShow(traced()[0], np.zeros((16, 16, 1), np.uint8))
    assert Work((counts, shown, shown)).size_bytes == 100 + 400 + 2 * 256
    assert Work(()).size_bytes == 0
