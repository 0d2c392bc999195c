from __future__ import annotations

import csv
import io
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lookalike import fashion_mnist
from lookalike.cli import demo, exits
from lookalike.cli.main import run_command
from lookalike.client import Counts, Job, JobState
from lookalike.demo import choose, dataset, report, sheet
from lookalike.demo.measure import Hit, Measured, precision_at


@pytest.fixture(scope="module")
def pictures() -> tuple[dataset.Pictures, dataset.Pictures]:
    return dataset.split()


def test_the_split_is_fixed_and_shares_no_picture(pictures: tuple[dataset.Pictures, dataset.Pictures]) -> None:
    gallery, queries = pictures
    assert (len(gallery), len(queries)) == (9000, 1000)
    assert queries.id(1) == "fashion-00010"
    assert set(gallery.numbers.tolist()).isdisjoint(queries.numbers.tolist())
    per_class = Counter(queries.label(index) for index in range(len(queries)))
    assert len(per_class) == 10
    assert min(per_class.values()) > 70


def test_files_hold_the_very_pixels_and_the_manifest_names_them(
    pictures: tuple[dataset.Pictures, dataset.Pictures], tmp_path: Path
) -> None:
    _, queries = pictures
    few = dataset.Pictures(queries.images[:20], queries.labels[:20], queries.numbers[:20])
    manifest = dataset.write_files(few, tmp_path)
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == [few.id(index) for index in range(20)]
    for index, row in enumerate(rows):
        with Image.open(tmp_path / row["uri"]) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))
            np.testing.assert_array_equal(np.asarray(image), few.images[index])
        assert row["label"] == few.label(index)


def test_precision_is_the_mean_share_of_right_labels() -> None:
    hits = [
        [Hit("a", "Coat", 0.1), Hit("b", "Bag", 0.2)],
        [Hit("c", "Bag", 0.1), Hit("d", "Bag", 0.2)],
    ]
    assert precision_at(1, hits, ["Coat", "Coat"]) == 0.5
    assert precision_at(2, hits, ["Coat", "Bag"]) == 0.75
    assert precision_at(2, [hits[0][:1]], ["Coat"]) == 0.5, "a missing neighbour is a wrong one"
    assert precision_at(1, [], []) == 0.0


def test_the_sheet_shows_every_class_then_two_misses_of_two_classes(
    pictures: tuple[dataset.Pictures, dataset.Pictures],
) -> None:
    _, queries = pictures
    labels = [queries.label(index) for index in range(len(queries))]
    right = [(Hit("x", label, 0.1),) for label in labels]
    wrong = [(Hit("x", "nothing", 0.1),) for _ in labels]
    assert [(labels[index], remark) for index, remark in choose.chosen(queries, right)] == [
        (name, "") for name in fashion_mnist.CLASS_NAMES
    ]
    with_misses = choose.chosen(queries, wrong)
    assert len({labels[index] for index, remark in with_misses if remark}) == 2
    assert len({index for index, _ in with_misses}) == 12


def test_the_sheet_marks_right_and_wrong_in_their_colours(
    pictures: tuple[dataset.Pictures, dataset.Pictures], tmp_path: Path
) -> None:
    gallery, queries = pictures
    histogram = np.bincount(queries.images[0].ravel(), minlength=256).astype(np.float32) / np.float32(784)
    good, bad = Hit(gallery.id(0), "Coat", 0.1), Hit(gallery.id(1), "Bag", 0.2)
    shown = {gallery.id(index): gallery.images[index] for index in range(2)}
    colours = []
    for name, hits in (("good", (good,) * 5), ("bad", (bad,) * 5)):
        row = sheet.Row(queries.images[0], "Coat", histogram, hits, hits)
        sheet.draw_sheet([row], shown, "a trial", tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width > 2000
            # Above the legend, which shows both.
            colours.append(set(image.crop((0, 0, image.width, image.height - 100)).getdata()))
    green, red = (26, 127, 55), (198, 40, 40)
    assert green in colours[0]
    assert red not in colours[0]
    assert red in colours[1]
    assert green not in colours[1]


def test_figures_are_shown_as_they_are(tmp_path: Path) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    job = Job(
        "job-1", "demo", None, JobState.SUCCEEDED, Counts(9000, 8990, 0, 10), {}, 36, 36, 1, "", "", began,
        began + timedelta(seconds=20),
    )  # fmt: skip
    weak = Measured("histogram", 0.4, 0.2, 100.0, 9.0, 20.0, ())
    good = Measured("siamese", 0.93, 0.92, 90.0, 10.0, 22.0, ())
    figures = report.Figures("demo", 9000, 1000, 4, 3.0, 20.0, job, (weak, good))

    report.write_json(figures, tmp_path / "demo.json")
    written = json.loads((tmp_path / "demo.json").read_text())
    out = io.StringIO()
    Console(file=out, width=120).print(demo.figures_table(figures))

    assert written["spaces"]["siamese"] == {"P@1": 0.93, "P@5": 0.92, "queries_per_s": 90.0, "p50_ms": 10.0, "p95_ms": 22.0}
    assert written["ingest"]["images_per_s"] == 449.5
    assert written["ingest"]["failed"] == 10
    assert written["surprises"] == ["P@5 of histogram is 0.200; between 0.34 and 0.42 was expected"]
    assert "0.920" in out.getvalue()


@pytest.mark.parametrize(
    ("state", "counts", "siamese", "code"),
    [
        (JobState.SUCCEEDED, Counts(10, 10, 0, 0), 0.92, exits.OK),
        (JobState.SUCCEEDED, Counts(10, 10, 0, 0), 0.87, exits.UNEXPECTED),
        (JobState.SUCCEEDED, Counts(10, 9, 0, 1), 0.92, exits.ITEMS_FAILED),
        (JobState.FAILED, Counts(10, 10, 0, 0), 0.87, exits.ITEMS_FAILED),
    ],
)
def test_figures_that_are_not_what_they_should_be_end_the_demo_with_a_code_of_their_own(
    state: JobState, counts: Counts, siamese: float, code: int
) -> None:
    job = Job("job-1", "demo", None, state, counts, {}, 1, 1, 1, "", "", datetime.now(UTC), None)
    measured = (Measured("histogram", 0.4, 0.38, 100.0, 9.0, 20.0, ()), Measured("siamese", 0.9, siamese, 90.0, 9.0, 20.0, ()))
    assert demo.exit_code_of(job, report.surprises(measured)) == code


def test_the_codes_of_the_demo_are_in_its_help_and_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["demo", "--help"]) == exits.OK
    said = " ".join(capsys.readouterr().out.split())
    assert "with 7 if the share is another" in said
    assert "[default: a new one, removed at the end]" in said
    assert exits.UNEXPECTED in dict(exits.TABLE)


def test_a_folder_that_cannot_be_written_is_one_line_and_no_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run_command(["demo", "--out", str(tmp_path / "file" / "out")]) == exits.OTHER
    assert capsys.readouterr().err == f"lookalike: {tmp_path / 'file' / 'out'}: Not a directory\n"
