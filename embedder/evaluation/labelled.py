"""A bundle measured on labelled pictures, beside plain histograms: embed, search exactly, score.

`fashion-mnist` asks with its 10,000 test pictures among its 60,000 training pictures. Any other dataset is asked leave-one-out:
every picture looks for all the others. Called by `lookalike evaluate`, by `lookalike train` and by the registry.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.datasets.sources import FASHION, Listing, list_labelled
from embedder.evaluation import metrics
from embedder.evaluation.exact import Task, make_task, scored
from embedder.evaluation.metrics import Scores
from embedder.evaluation.result import SHOWN, Evaluation, Subject, Thumbnails, Way, title
from embedder.evaluation.thumbnails import of_listing
from embedder.evaluation.vectors import Embedding, Report, Vectors
from embedder.models.bundle import Bundle, DataSummary
from lookalike.errors import InvalidArgument
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings, Metric

BASELINE = HistogramSettings()
"""256 grey bins over the whole picture, by L2."""
EXACT = "exact: every query against every picture of the gallery"


def evaluate_bundle(
    bundle: Bundle,
    dataset: str,
    *,
    data: Path | None = None,
    uri_column: str = "uri",
    label_column: str = "label",
    histograms: Sequence[HistogramSettings] = (BASELINE,),
    limit: int = 0,
    report: Report = lambda _what, _done, _of: None,
) -> Evaluation:
    """Measure `bundle` and `histograms` on `dataset` (as `list_labelled` takes it, which gets `data` and the columns).

    `limit` is the number of queries, spread evenly (0: all). Pictures that cannot be used are skipped and listed; queries
    whose label nothing else in the gallery bears are left out and counted.

    Raises what `list_labelled` does, and `InvalidArgument` where there are fewer than two classes, where nothing can be
    decoded, or where no query is left.
    """
    started_s = time.perf_counter()
    listed = list_labelled(dataset, split="test", data=data, uri_column=uri_column, label_column=label_column)
    check_classes(listed)
    embedding = Embedding(bundle, histograms)
    if dataset == FASHION:
        asked = listed.rows(spread(len(listed), limit))
        queries, gallery = embedding.of(asked, report), embedding.of(list_labelled(dataset, split="train", data=data), report)
        own, protocol = None, f"{len(queries):,} test pictures are looked for among {len(gallery):,} training pictures"
    else:
        gallery = embedding.of(listed, report)
        own = spread(len(gallery), limit)
        queries = _rows(gallery, own)
        protocol = f"leave-one-out: each of {len(queries):,} pictures is looked for among the other {len(gallery) - 1:,}"
    task = make_task(queries.listing.labels, gallery.listing.labels, own, listed.name)
    ways = [_measured(SIAMESE, None, task, queries.siamese, gallery.siamese, report)]
    for settings, mine, among in zip(histograms, queries.histograms, gallery.histograms, strict=True):
        ways.append(_measured(HISTOGRAM, settings, task, mine, among, report))
    asked_with = queries.listing.rows(task.rows)
    vectors = {SIAMESE: queries.siamese[task.rows]}
    if BASELINE in embedding.histograms:
        vectors[HISTOGRAM] = queries.histograms[embedding.histograms.index(BASELINE)][task.rows]
    return Evaluation(
        subject=subject_of(bundle),
        dataset=name_of(dataset),
        measured_on=_summary(listed, queries, gallery, own, limit),
        protocol=protocol,
        search=EXACT,
        classes=listed.classes,
        ways=tuple(ways),
        queries=asked_with.uris,
        gallery=gallery.listing.uris,
        gallery_labels=gallery.listing.labels,
        vectors=vectors,
        thumbnails=Thumbnails(of_listing(asked_with), of_listing(gallery.listing)),
        skipped=(*listed.skipped, *gallery.skipped, *(queries.skipped if own is None else ())),
        alone=len(queries) - len(task.rows),
        spent_s=time.perf_counter() - started_s,
    )


def check_classes(listing: Listing) -> None:
    """Raise `InvalidArgument` where every answer would be right."""
    present = np.unique(listing.labels)
    if len(present) < 2:
        only = f" ({listing.classes[present[0]]!r})" if len(present) else ""
        raise InvalidArgument("dataset", f"{listing.name} holds one class only{only}: every answer would be right")


def name_of(dataset: str) -> str:
    """`fashion-mnist`, or the last part of a path."""
    return dataset if dataset == FASHION else Path(dataset).absolute().name


def spread(count: int, limit: int) -> npt.NDArray[np.int64]:
    """`limit` of `count` rows, evenly spread from the first on; all of them where `limit` is 0 or more than there are."""
    if not limit or limit >= count:
        return np.arange(count)
    return np.arange(limit) * count // limit


def subject_of(bundle: Bundle) -> Subject:
    """A bundle's card, for people."""
    facts = [
        ("Licence", bundle.licence),
        ("Tower", f"{bundle.tower.backbone}, head {bundle.tower.head}, {bundle.tower.embedding_dim} numbers a picture"),
        ("Input", f"{bundle.tower.input_size}x{bundle.tower.input_size} {'grey' if bundle.tower.channels == 1 else 'RGB'}"),
        ("Weights", f"{sum(array.size for array in bundle.weights):,}, {bundle.storage}"),
    ]
    facts += [("Trained on", str(source)) for source in bundle.trained_on]
    facts += [(key.replace("_", " ").capitalize(), str(value)) for key, value in bundle.provenance.items()]
    return Subject("bundle", bundle.name, bundle.fingerprint, tuple(facts))


def _measured(
    name: str,
    settings: HistogramSettings | None,
    task: Task,
    queries: npt.NDArray[np.float32],
    gallery: npt.NDArray[np.float32],
    report: Report,
) -> Way:
    metric = Metric.COSINE if settings is None else Metric.L2
    said = f"ranking by {name}" + (f", {title(settings)}" if settings is not None else "")
    parts: list[Scores] = []
    found = np.full((len(task.rows), SHOWN), -1, np.int64)
    distances = np.full((len(task.rows), SHOWN), np.nan, np.float32)
    for block, scores in scored(task, queries[task.rows], gallery, metric):
        parts.append(scores)
        end = block.start + len(block.found)
        shown = min(SHOWN, block.found.shape[1])
        found[block.start : end, :shown] = block.found[:, :shown]
        distances[block.start : end, :shown] = block.distances[:, :shown]
        report(said, end, len(task.rows))
    return Way(name, settings, metrics.join(parts), found, distances, depth=min(metrics.DEPTH, task.depth))


def _rows(vectors: Vectors, rows: npt.NDArray[np.int64]) -> Vectors:
    if len(rows) == len(vectors):
        return vectors
    histograms = tuple(one[rows] for one in vectors.histograms)
    return replace(vectors, listing=vectors.listing.rows(rows), siamese=vectors.siamese[rows], histograms=histograms)


def _summary(listed: Listing, queries: Vectors, gallery: Vectors, own: npt.NDArray[np.int64] | None, limit: int) -> DataSummary:
    """Also what part of a dataset was asked makes it other data."""
    part = f", {len(queries):,} queries" if limit else ""
    classes = len(np.unique(gallery.listing.labels))
    if own is not None:
        name, images, digest = f"{listed.name}{part}", len(gallery), gallery.digest
    else:
        name, images = f"{listed.name} among {gallery.listing.name}{part}", len(queries) + len(gallery)
        digest = hashlib.sha256(f"{queries.digest} {gallery.digest}".encode()).hexdigest()[:16]
    if limit and own is not None:
        digest = hashlib.sha256(f"{digest} {len(queries)}".encode()).hexdigest()[:16]
    return DataSummary(name, images, classes, listed.licence, listed.source, digest)
