"""The report is one well-formed file that needs no other, whatever its pictures and classes are called."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from embedder.datasets.listings import Skipped
from embedder.evaluation import metrics
from embedder.evaluation.attack_report import attack_report
from embedder.evaluation.attacks import AttackEvaluation
from embedder.evaluation.markup import Markup, tag
from embedder.evaluation.projection import tsne
from embedder.evaluation.report import evaluation_report
from embedder.evaluation.result import Evaluation, Subject, Thumbnail, Thumbnails, Way
from embedder.evaluation.sheet import choose
from embedder.evaluation.table import figure
from embedder.models.bundle import DataSummary
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings

NASTY = "<script>alert(\"x\")</script> & 'co' \udcff"
VOID = {"meta", "img", "br"}


PICTURES = Thumbnails(
    query=lambda _row: Thumbnail("png", b"query", pixelated=True),
    gallery=lambda row: None if row % 2 else Thumbnail("jpeg", b"gallery"),
)
"""Every other picture of the gallery is gone."""


def an_evaluation(classes: int, queries: int = 60, *, notes: tuple[str, ...] = ()) -> Evaluation:
    rng = np.random.default_rng(classes)
    labels = (np.arange(queries) % classes).astype(np.int32)
    names = (NASTY, *(f"class {number}" for number in range(1, classes)))
    ways = []
    for name, settings, luck in (
        (SIAMESE, None, 0.8),
        (HISTOGRAM, HistogramSettings(), 0.3),
        (HISTOGRAM, HistogramSettings(16, 4), 0.5),
    ):
        found = rng.integers(0, queries, (queries, 10))
        ranked = labels[found]
        ranked[rng.random(ranked.shape) < luck] = -2
        ranked = np.where(ranked == -2, labels[:, None], ranked).astype(np.int32)
        scores = metrics.score(ranked, labels, np.full(queries, 9), complete=False)
        ways.append(Way(name, settings, scores, found, rng.random((queries, 10)).astype(np.float32), depth=10))
    return Evaluation(
        subject=Subject("bundle", "fashion", "0123456789abcdef", (("Licence", NASTY),)),
        dataset=NASTY,
        measured_on=DataSummary(NASTY, queries, classes, "MIT", "somewhere", "ff"),
        protocol="leave-one-out",
        search="exact",
        classes=names,
        ways=tuple(ways),
        queries=tuple(f"file:///q/{row}" for row in range(queries)),
        gallery=tuple(f"file:///g/{row}" for row in range(queries)),
        gallery_labels=labels,
        vectors={SIAMESE: rng.random((queries, 8)).astype(np.float32), HISTOGRAM: rng.random((queries, 8)).astype(np.float32)},
        thumbnails=PICTURES,
        skipped=(Skipped(NASTY, "is no picture"),),
        notes=notes,
    )


class Checker(HTMLParser):
    """Every element is closed in order; collects tags, links and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.addresses += [value or "" for key, value in attributes if key in ("src", "href")]
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert checker.tags.count("h1") == 1
    assert "script" not in checker.tags
    assert "link" not in checker.tags
    assert all(address.startswith("data:image/") for address in checker.addresses)
    assert not re.search(r"@import|url\(", page)
    return checker


@pytest.mark.parametrize("classes", [2, 10, 25, 40, 60])
def test_a_report_is_whole_whatever_the_classes(classes: int) -> None:
    page = evaluation_report(an_evaluation(classes, notes=("only a note",)))
    found = checked(page)
    assert NASTY in found.text
    assert "only a note" in found.text
    assert "no preview" in found.text
    assert found.tags.count("svg") == 3
    assert len(page) < 1_000_000
    page.encode("utf-8", "replace")


def test_figures_of_the_report_are_those_of_the_evaluation() -> None:
    evaluation = an_evaluation(3)
    text = checked(evaluation_report(evaluation)).text
    for way in evaluation.ways:
        for name in ("p_at_1", "p_at_5", "knn5_accuracy"):
            assert figure(way.figures[name]) in text


def test_the_sheet_shows_best_and_worst_once_each_and_many_classes() -> None:
    evaluation = an_evaluation(10)
    best, worst = choose(evaluation)
    hits = evaluation.main.scores.right[:, :10].sum(axis=1)
    assert (len(best), len(worst)) == (8, 8)
    assert not set(best) & set(worst)
    assert hits[best].min() >= hits[worst].max()
    assert hits[worst[0]] == hits.min()
    labels = evaluation.main.scores.labels
    assert len(set(labels[best].tolist())) == 8


def test_the_attack_report_marks_what_falls_behind() -> None:
    figures = {"r_at_1_mean": 0.9, "r_at_1_blur": 0.97, "r_at_1_crop_30": 0.83}
    baseline = {"r_at_1_mean": 0.905, "r_at_1_blur": 0.99, "r_at_1_crop_30": 0.82}
    attacks = {"blur": "Gaussian blur", "crop_30": f"30 % {NASTY}"}
    found = AttackEvaluation(
        figures, {"last_stage": baseline}, attacks, 160, 110, DataSummary("photos", 270), (Skipped("a.jpg", NASTY),)
    )
    page = attack_report(Subject("bundle", "photo", "ff"), found)
    text = checked(page).text
    assert text.count("▼") == 1
    assert ".9700 ▼" in text
    assert "Weakest: crop 30" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.94321, ".9432"), (1.0, "1.000"), (0.0, ".0000"), (None, "-"), (float("nan"), "-"), (0.99999, "1.000")],
)
def test_figures_read_as_in_the_literature(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_markup_escapes_what_is_not_markup() -> None:
    made = tag("p", "a < b", Markup("<b>c</b>"), [1, None, tag("i", '"')], class_="x", title='"<', hidden=True, id=None)
    assert made == '<p class="x" title="&quot;&lt;" hidden>a &lt; b<b>c</b>1<i>&quot;</i></p>'


def test_a_map_keeps_groups_together_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(4), 20)
    vectors = (rng.standard_normal((4, 16))[groups] * 2 + rng.standard_normal((80, 16)) * 0.3).astype(np.float32)
    places = tsne(vectors, steps=300)
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).all()
    np.testing.assert_array_equal(places, tsne(vectors, steps=300))


@pytest.mark.parametrize("vectors", [np.ones((6, 3)), np.eye(2), np.zeros((2, 1))])
def test_a_map_of_hardly_anything_is_finite(vectors: np.ndarray) -> None:
    assert np.isfinite(tsne(vectors.astype(np.float32), steps=60)).all()
