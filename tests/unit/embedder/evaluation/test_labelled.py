"""A bundle measured on a few real pictures: vectors of the serving path, who is asked about what, and what is left out."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedder.datasets.sources import Listing, list_labelled, read
from embedder.evaluation import exact
from embedder.evaluation.exact import make_task
from embedder.evaluation.labelled import evaluate_bundle, spread
from embedder.evaluation.result import Evaluation
from embedder.evaluation.vectors import Embedding, Vectors
from embedder.models.bundle import Bundle
from embedder.pictures.decode import Decoder, TowerInput, Wanted
from embedder.serving.spaces import Spaces, ToCount, Work
from lookalike import fashion_mnist
from lookalike.demo import dataset
from lookalike.errors import InvalidArgument
from lookalike.spaces import HistogramSettings, Metric
from tests.servers.embedder import random_bundle

PER_CLASS = 12
CLASSES = (0, 1, 8)
"""T-shirt/top, Trouser, Bag."""
COLOUR = HistogramSettings(16, 2, color=True)


@functools.cache
def pictures() -> dataset.Pictures:
    gallery, _ = dataset.split()
    rows = np.concatenate([np.flatnonzero(gallery.labels == label)[:PER_CLASS] for label in CLASSES])
    return dataset.Pictures(gallery.images[rows], gallery.labels[rows], gallery.numbers[rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("labelled")
    dataset.write_files(pictures(), made)
    (made / dataset.MANIFEST).unlink()
    for empty in made.iterdir():
        if not any(empty.iterdir()):
            empty.rmdir()
    return made


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return random_bundle("small")


@pytest.fixture(scope="module")
def found(folder: Path, bundle: Bundle) -> Evaluation:
    return evaluate_bundle(bundle, str(folder), histograms=(HistogramSettings(), COLOUR))


def embedded(listing: Listing, bundle: Bundle, *settings: HistogramSettings) -> Vectors:
    return Embedding(bundle, settings).of(listing, lambda *_: None)


def test_vectors_are_those_that_the_embedder_serves(folder: Path, bundle: Bundle) -> None:
    listing = list_labelled(str(folder)).rows(np.arange(0, 36, 5))
    vectors = embedded(listing, bundle, HistogramSettings(), COLOUR)
    from tests.servers.embedder import models

    decoder, spaces = Decoder(), Spaces()
    for row in range(len(listing)):
        shown = decoder.decode(read(listing, row), Wanted((1,), (TowerInput(bundle.tower.input_size, 1, bundle.input.fit),)))
        coloured = decoder.decode(read(listing, row), Wanted((3,)))
        expected = models()[0].embed(shown.tower[None]).numpy()[0]
        assert vectors.siamese[row] == pytest.approx(expected, abs=1e-5)
        for place, (settings, canvas) in enumerate(((HistogramSettings(), shown.canvas), (COLOUR, coloured.canvas))):
            ((served,),) = spaces.compute([Work((ToCount(settings, canvas),))])
            np.testing.assert_array_equal(vectors.histograms[place][row], served)


def test_a_dataset_of_pixels_and_the_same_as_files_are_the_same_data(folder: Path) -> None:
    import keras

    from embedder.models.bundle import InputSpec, TowerConfig
    from embedder.models.tower import build_tower

    tower = TowerConfig(input_size=28, widths=(4, 4, 4), embedding_dim=4)
    keras.utils.set_random_seed(2)
    bundle = Bundle("pixels", tower, InputSpec((0.3,), (0.3,), mirror=False), tuple(build_tower(tower).get_weights()))
    files = list_labelled(str(folder))
    order = [int(Path(uri).stem.rpartition("-")[2]) for uri in files.uris]
    split = fashion_mnist.load("test")
    pixels = Listing("pixels", files.uris, files.labels, files.classes, pixels=split.images[order])
    ours, theirs = embedded(pixels, bundle, HistogramSettings()), embedded(files, bundle, HistogramSettings())
    assert ours.digest == theirs.digest
    np.testing.assert_array_equal(ours.histograms[0], theirs.histograms[0])
    np.testing.assert_allclose(ours.siamese, theirs.siamese, atol=1e-6)
    assert embedded(files.rows(np.arange(35)), bundle).digest != theirs.digest
    relabelled = Listing("pixels", files.uris, files.labels[::-1].copy(), files.classes, pixels=split.images[order])
    assert embedded(relabelled, bundle).digest != theirs.digest


def test_every_picture_looks_for_all_the_others(found: Evaluation, folder: Path, bundle: Bundle) -> None:
    listing = list_labelled(str(folder))
    vectors = embedded(listing, bundle, HistogramSettings())
    labels = listing.labels
    for way, given, metric in (
        (found.main, vectors.siamese, Metric.COSINE),
        (found.ways[1], vectors.histograms[0], Metric.L2),
    ):
        nearest = exact.nearest(given, given, 2, metric)
        other = np.where(nearest[:, 0] == np.arange(36), nearest[:, 1], nearest[:, 0])
        assert way.figures["p_at_1"] == pytest.approx((labels[other] == labels).mean(), abs=1 / 36)
        assert not (way.found == np.arange(36)[:, None]).any()
    assert found.main.scores.relevant.tolist() == [PER_CLASS - 1] * 36
    assert (len(found.queries), len(found.gallery)) == (36, 36)
    assert found.measured_on.images == 36
    assert set(found.vectors) == {"siamese", "histogram"}


def test_json_names_every_figure_at_the_top_and_under_histogram(found: Evaluation) -> None:
    shown = found.to_json()
    names = {
        "p_at_1",
        "p_at_5",
        "p_at_10",
        "recall_at_1",
        "recall_at_5",
        "recall_at_10",
        "map_at_1000",
        "map_at_r",
        "knn5_accuracy",
    }
    assert names <= set(shown)
    assert names <= set(shown["histogram"])
    assert {key: shown["histograms"][0][key] for key in ("bins", "grid", "color")} == {"bins": 16, "grid": 2, "color": True}
    assert shown["p_at_1"] == pytest.approx(found.figures["p_at_1"], abs=1e-4)
    assert shown["map_at_1000_ceiling"] == pytest.approx(0.011)


def test_a_limit_asks_with_fewer_evenly_spread_and_is_other_data(found: Evaluation, folder: Path, bundle: Bundle) -> None:
    few = evaluate_bundle(bundle, str(folder), histograms=(), limit=9)
    assert few.queries == found.queries[::4]
    assert len(few.gallery) == 36
    assert few.measured_on.digest != found.measured_on.digest
    assert few.main.found.tolist() == found.main.found[::4].tolist()


@pytest.mark.parametrize(("count", "limit", "rows"), [(5, 0, 5), (5, 9, 5), (10, 3, 3), (10_000, 1000, 1000)])
def test_spread_rows_are_even_and_never_twice(count: int, limit: int, rows: int) -> None:
    spread_rows = spread(count, limit)
    assert len(set(spread_rows.tolist())) == rows
    assert np.ptp(np.diff(spread_rows)) <= 1


def test_pictures_that_cannot_be_used_are_listed_and_lonely_ones_counted(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "data")
    bag = sorted((tmp_path / "data" / "bag").iterdir())
    for path in bag[1:]:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + path.name.encode())
    (tmp_path / "data" / "trouser" / "text.png").write_bytes(b"no picture")
    found = evaluate_bundle(bundle, str(tmp_path / "data"), histograms=())
    assert len(found.skipped) == PER_CLASS
    assert all(one.reason for one in found.skipped)
    assert (found.alone, len(found.queries), len(found.gallery)) == (1, 24, 25)
    assert found.to_json()["queries_alone_in_their_class"] == 1


def test_a_single_class_is_refused(folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(folder / "bag", tmp_path / "data" / "bag")
    with pytest.raises(InvalidArgument, match=r"one class only.*'bag'"):
        evaluate_bundle(bundle, str(tmp_path / "data"))


def test_nothing_that_decodes_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.png").write_bytes(f"{label}{number}".encode())
    with pytest.raises(InvalidArgument, match="can be decoded; the first"):
        evaluate_bundle(bundle, str(tmp_path))


def test_queries_without_a_counterpart_are_left_out() -> None:
    labels, gallery = np.array([0, 3, 1], np.int32), np.array([0, 0, 1], np.int32)
    task = make_task(labels, gallery, None, "some")
    assert (task.rows.tolist(), task.relevant.tolist()) == ([0, 2], [2, 1])
    with pytest.raises(InvalidArgument, match="another of its class"):
        make_task(np.array([3], np.int32), gallery, None, "some")
