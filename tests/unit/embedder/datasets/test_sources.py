"""Datasets are listed and decoded as they are: what cannot be used is skipped with its reason, and nothing else is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedder.datasets.sources import Shape, decoded, list_labelled, list_pictures, load
from embedder.pictures.decode import Decoder, TowerInput, Wanted
from lookalike.errors import BadImage, FailedPrecondition, InvalidArgument, NotFound
from tests.pictures.made_pictures import encoded, noise

SHAPE = Shape(side=16, channels=3)


def picture(seed: int, *, side: int = 20, channels: int = 3) -> bytes:
    return encoded(noise(side, side, channels, seed=seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three pictures."""
    root = tmp_path / "things"
    for number, name in enumerate(("cups", "pots")):
        (root / name).mkdir(parents=True)
        for seed in range(3):
            (root / name / f"{seed}.png").write_bytes(picture(10 * number + seed))
    return root


def reasons(skipped: object) -> dict[str, str]:
    return {skip.uri.rsplit("/", 1)[1]: skip.reason for skip in skipped}  # type: ignore[attr-defined]


def test_a_folder_has_a_class_for_each_sub_folder(folder: Path) -> None:
    listing = list_labelled(str(folder))
    assert listing.name == "things"
    assert listing.classes == ("cups", "pots")
    assert listing.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert listing.uris[0] == (folder / "cups" / "0.png").as_uri()
    assert listing.skipped == ()


def test_what_cannot_be_used_in_a_folder_is_skipped_with_its_reason(folder: Path) -> None:
    (folder / "cups" / "again.png").write_bytes(picture(0))
    (folder / "cups" / "both.png").write_bytes(picture(50))
    (folder / "pots" / "both2.png").write_bytes(picture(50))
    (folder / "cups" / "empty.jpg").write_bytes(b"")
    (folder / "beside.png").write_bytes(picture(51))
    (folder / "bare").mkdir()
    (folder / "lonely").mkdir()
    (folder / "lonely" / "one.png").write_bytes(picture(52))
    listing = list_labelled(str(folder))
    assert listing.classes == ("cups", "pots")
    assert len(listing) == 6
    said = reasons(listing.skipped)
    assert said == {
        "again.png": f"the same picture as {(folder / 'cups' / '0.png').as_uri()}",
        "both.png": "the same picture is labelled 'cups', 'pots'",
        "both2.png": "the same picture is labelled 'cups', 'pots'",
        "empty.jpg": "the file is empty",
        "beside.png": "lies beside the classes' folders, not in one",
        "bare": "a class's folder without a picture",
        "one.png": "the only picture of class 'lonely'",
    }


def test_unreadable_pictures_are_skipped_and_so_is_what_is_then_alone_in_its_class(folder: Path) -> None:
    (folder / "pots" / "1.png").write_bytes(b"no picture")
    (folder / "pots" / "2.png").write_bytes(picture(12)[:60])
    loaded = load(list_labelled(str(folder)), SHAPE)
    assert loaded.images.classes == ("cups",)
    assert loaded.images.labels.tolist() == [0, 0, 0]
    assert [Path(uri).name for uri in loaded.uris] == ["0.png", "1.png", "2.png"]
    said = reasons(loaded.skipped)
    assert said["0.png"] == "the only picture of class 'pots' that can be read"
    assert said["1.png"].startswith("is not a JPEG, PNG")
    assert said["2.png"].startswith("is truncated or damaged")


def test_pictures_of_every_size_and_colour_become_one_shape_as_the_embedder_decodes_them(folder: Path) -> None:
    (folder / "cups" / "grey.png").write_bytes(picture(60, channels=1))
    (folder / "cups" / "small.png").write_bytes(picture(61, side=5))
    (folder / "pots" / "wide.jpg").write_bytes(encoded(noise(30, 90, 3, seed=62), "JPEG"))
    for shape in (SHAPE, Shape(side=16, channels=1), Shape(side=24, channels=3, fit="squash")):
        loaded = load(list_labelled(str(folder)), shape)
        assert loaded.images.pixels.shape == (9, shape.side, shape.side, shape.channels)
        wanted = Wanted(towers=(TowerInput(shape.side, shape.channels, shape.fit),))
        for uri, row in zip(loaded.uris, loaded.images.pixels, strict=True):
            served = Decoder().decode(Path(uri.removeprefix("file://")).read_bytes(), wanted).tower
            np.testing.assert_array_equal(row, served)


def test_a_csv_names_pictures_by_paths_from_its_own_folder(folder: Path) -> None:
    table = folder / "list.csv"
    table.write_text(
        "picture,what\n"
        "cups/0.png,7\ncups/1.png,7\n"
        f"{folder / 'pots' / '0.png'},12\n{(folder / 'pots' / '1.png').as_uri()},12\n"
        "pots/none.png,12\npots/2.png,\ns3://bucket/a.png,7\n\n"
    )
    listing = list_labelled(str(table), uri_column="picture", label_column="what")
    assert listing.classes == ("7", "12")
    assert listing.labels.tolist() == [0, 0, 1, 1]
    assert listing.uris[2] == (folder / "pots" / "0.png").as_uri()
    said = reasons(listing.skipped)
    assert said == {
        "none.png": "there is no such file",
        "2.png": "row 6 has no label",
        "a.png": "'s3://bucket/a.png' does not name a local file",
    }


def test_a_parquet_file_is_read_as_a_csv_is(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    uris = [f"{name}/{seed}.png" for name in ("cups", "pots") for seed in range(3)]
    pq.write_table(pa.table({"uri": uris, "label": [1, 1, 1, 2.0, 2.0, None]}), folder / "list.parquet")
    listing = list_labelled(str(folder / "list.parquet"))
    assert listing.classes == ("1", "2")
    assert listing.labels.tolist() == [0, 0, 0, 1, 1]
    assert reasons(listing.skipped) == {"2.png": "row 6 has no label"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(folder: Path, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = folder / f"list{suffix}"
    if suffix == ".csv":
        table.write_text("uri,category\ncups/0.png,cup\n")
    else:
        pq.write_table(pa.table({"uri": ["cups/0.png"], "category": ["cup"]}), table)
    with pytest.raises(InvalidArgument, match="has no column 'label'; it has: uri, category"):
        list_labelled(str(table))


def test_a_dataset_that_cannot_be_used_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFound, match=r"dataset '.*nowhere' does not exist; name a folder, a \.csv"):
        list_labelled(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InvalidArgument, match="neither a folder nor"):
        list_labelled(str(tmp_path / "notes.txt"))
    (tmp_path / "bad.csv").write_bytes(b"uri,label\n\xff\xfe,a\n")
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        list_labelled(str(tmp_path / "bad.csv"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        list_labelled(str(tmp_path / "bad.parquet"))
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.png").write_bytes(picture(1))
    with pytest.raises(InvalidArgument, match=r"no class with two pictures; skipped: 1, the first: .*a\.png: lies beside"):
        list_labelled(str(flat))


def test_pictures_without_labels_are_those_of_all_sub_folders(folder: Path) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "x.png").write_bytes(picture(70))
    (folder / "deep" / "twice.png").write_bytes(picture(0))
    listing = list_pictures(str(folder))
    assert len(listing) == 7
    assert listing.classes == ()
    assert not listing.labels.any()
    assert list(reasons(listing.skipped)) == ["twice.png"]
    (folder / "list.csv").write_text("uri\ncups/0.png\n")
    assert list_pictures(str(folder / "list.csv")).uris == ((folder / "cups" / "0.png").as_uri(),)


def test_fashion_mnist_is_listed_and_decoded_like_any_other() -> None:
    listing = list_labelled("fashion-mnist", split="test")
    assert (len(listing), listing.classes[9], listing.uris[3]) == (10_000, "Ankle boot", "fashion-mnist:test/00003")
    some = listing.rows(np.arange(40))
    assert some.pixels is not None
    for row, outcome in decoded(some, Wanted((1,), (TowerInput(28, 1),))):
        assert not isinstance(outcome, Exception)
        np.testing.assert_array_equal(outcome.tower[..., 0], some.pixels[row])
        np.testing.assert_array_equal(outcome.canvas[..., 0], some.pixels[row])
    np.testing.assert_array_equal(load(some, Shape(28, 1)).images.pixels[..., 0], some.pixels)
    assert load(some, Shape(32, 3)).images.pixels.shape == (40, 32, 32, 3)


def test_a_dataset_that_is_nowhere_and_cannot_be_downloaded_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network() -> None:
        raise Exception("URL fetch failure on https://host/train.gz: None -- Name or service not known")  # noqa: TRY002 - as Keras

    monkeypatch.setattr("lookalike.fashion_mnist.SEARCHED", (tmp_path,))
    monkeypatch.setattr("keras.datasets.fashion_mnist.load_data", no_network)
    with pytest.raises(FailedPrecondition, match=r"cannot be downloaded \(URL fetch failure.*install Debian's") as refused:
        list_labelled("fashion-mnist")
    assert refused.value.reason == "DATASET_NOT_FOUND"


def test_a_file_that_vanishes_after_listing_is_an_error_in_its_place(folder: Path) -> None:
    listing = list_labelled(str(folder))
    (folder / "cups" / "1.png").unlink()
    outcomes = dict(decoded(listing, Wanted(towers=(TowerInput(16, 3),))))
    assert sorted(outcomes) == list(range(6))
    assert isinstance(outcomes[1], NotFound)
    assert not any(isinstance(outcomes[row], Exception) for row in (0, 2, 3, 4, 5))


def test_many_pixels_go_into_a_memory_map(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = load(list_labelled(str(folder)), SHAPE)
    monkeypatch.setattr("embedder.datasets.sources.IN_MEMORY_BYTES", 100)
    (folder / "alone").mkdir()
    for name, content in (("a.png", picture(80)), ("b.png", b"no picture")):
        (folder / "alone" / name).write_bytes(content)
    mapped = load(list_labelled(str(folder)), SHAPE, memory_map=tmp_path / "out" / "pixels.npy")
    assert isinstance(mapped.images.pixels, np.memmap)
    np.testing.assert_array_equal(mapped.images.pixels, in_memory.images.pixels)
    assert mapped.images.summary.digest == in_memory.images.summary.digest


def test_a_picture_too_large_to_upload_is_too_large_to_train_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder.datasets.sources.MAX_IMAGE_BYTES", 1500)
    stream = io.BytesIO()
    Image.fromarray(noise(40, 40, 3)).save(stream, "PNG")
    (folder / "cups" / "large.png").write_bytes(stream.getvalue())
    outcomes = [outcome for _, outcome in decoded(list_labelled(str(folder)), Wanted(towers=(TowerInput(16, 3),)))]
    assert [isinstance(outcome, BadImage) for outcome in outcomes].count(True) == 1
