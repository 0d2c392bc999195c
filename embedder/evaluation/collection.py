"""A running gateway's collection measured on labelled pictures: the whole way of a query, the index's misses included.

Asks through the project's own client, as any caller would. Called by `lookalike evaluate collection:NAME`. A picture that is
stored in the collection too is not counted among its own neighbours.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedder.datasets.sources import Listing, list_labelled
from embedder.evaluation import metrics
from embedder.evaluation.asking import Answer, Asked, Asking, Plan
from embedder.evaluation.labelled import check_classes, name_of, spread
from embedder.evaluation.metrics import NOTHING, Scores
from embedder.evaluation.result import SHOWN, Evaluation, Subject, Thumbnails, Way
from embedder.evaluation.stored import Stored, read_stored
from embedder.evaluation.thumbnails import of_listing, of_stored
from embedder.evaluation.vectors import Report
from embedder.models.bundle import DataSummary
from lookalike.cli.space_options import kind_text
from lookalike.client import Client, Collection
from lookalike.errors import InvalidArgument
from lookalike.spaces import HistogramSettings, Space

_SAME = 1e-6
"""A distance below this is the same picture, or one that the model takes for it."""


def evaluate_collection(
    client: Client,
    name: str,
    dataset: str,
    *,
    data: Path | None = None,
    uri_column: str = "uri",
    label_column: str = "label",
    label_key: str = "label",
    plan: Plan = Plan(),  # noqa: B008 - frozen
    report: Report = lambda _what, _done, _of: None,
) -> Evaluation:
    """Ask the collection `name` for the neighbours of the pictures of `dataset` (of `fashion-mnist` its test pictures), in
    each of its spaces.

    A stored image's label is the text of its metadata `label_key`. P@k, recall@k and k-NN come from searches for ten
    neighbours, as users make them; `map_at_1000` and `map_at_r` from searches for `plan.depth`, which the index makes broader.

    Raises what `list_labelled` and the client raise, `FailedPrecondition` where the collection is empty or its labels are not
    those of the dataset, and `InvalidArgument` where no query is left.
    """
    started_s = time.perf_counter()
    listed = list_labelled(dataset, split="test", data=data, uri_column=uri_column, label_column=label_column)
    check_classes(listed)
    collection = client.get_collection(name)
    stored = read_stored(client, collection, listed, label_key, report)
    queries = listed.rows(spread(len(listed), plan.limit))
    answers, skipped = Asking(client, collection, stored, plan).ask(queries, report)
    asked, relevant = _scorable(queries, answers, stored)
    scored = queries.rows(np.array([one.row for one in asked], np.int64))
    ways = tuple(
        _way(space, [one.answers[space.name] for one in asked], scored.labels, relevant, stored, plan.depth)
        for space in _in_order(collection)
    )
    twice = sum(bool(one.own) for one in asked)
    among_them = f"; {twice:,} of them are stored too, and not counted among their own neighbours" if twice else ""
    return Evaluation(
        subject=_subject(collection, client.target),
        dataset=name_of(dataset),
        measured_on=_summary(listed, queries, collection),
        protocol=f"{len(asked):,} pictures of {listed.name} are looked for among {len(stored.ids):,} stored ones{among_them}",
        search=f"through the gateway at {client.target}: what its index finds, as callers get it",
        classes=stored.classes,
        ways=ways,
        queries=scored.uris,
        gallery=stored.ids,
        gallery_labels=stored.labels,
        vectors={space.name: np.stack([one.answers[space.name].vector for one in asked]) for space in collection.spaces},
        thumbnails=Thumbnails(of_listing(scored), of_stored(client, name, stored.ids)),
        skipped=(*listed.skipped, *skipped),
        alone=len(answers) - len(asked),
        unlabelled=int((stored.labels == NOTHING).sum()),
        notes=_notes(ways[0], len(listed), len(queries), plan),
        spent_s=time.perf_counter() - started_s,
    )


def _in_order(collection: Collection) -> list[Space]:
    """The space that searches use by default, the other models, then the histograms, the 256-bin baseline first."""
    main = collection.default_space
    others = [space for space in collection.spaces if space != main]
    return [main, *sorted(others, key=lambda space: (not space.model, space.kind != HistogramSettings()))]


def _scorable(queries: Listing, answers: Sequence[Asked], stored: Stored) -> tuple[list[Asked], npt.NDArray[np.int64]]:
    """The images whose label some other stored picture bears, and how many do."""
    counts = np.bincount(stored.labels[stored.labels != NOTHING], minlength=len(stored.classes))
    asked, relevant = [], []
    for one in answers:
        label = queries.labels[one.row]
        left = int(counts[label]) - sum(int(stored.labels[row] == label) for row in one.own)
        if left > 0:
            asked.append(one)
            relevant.append(left)
    if not asked:
        raise InvalidArgument("dataset", f"no picture of {queries.name} has another of its label in the collection")
    return asked, np.array(relevant, np.int64)


def _way(
    space: Space,
    answers: Sequence[Answer],
    labels: npt.NDArray[np.int32],
    relevant: npt.NDArray[np.int64],
    stored: Stored,
    depth: int,
) -> Way:
    found = np.full((len(answers), SHOWN), -1, np.int64)
    distances = np.full((len(answers), SHOWN), np.nan, np.float32)
    for row, answer in enumerate(answers):
        found[row, : len(answer.near)], distances[row, : len(answer.near)] = answer.near, answer.distances
    near = stored.labels_of([answer.near for answer in answers], SHOWN)
    deep = stored.labels_of([answer.deep for answer in answers], depth) if depth else near
    truly = sum(answer.truly for answer in answers)
    return Way(
        name=space.name,
        settings=space.kind if isinstance(space.kind, HistogramSettings) else None,
        scores=_scores(near, deep, labels, relevant, whole=depth >= len(stored.ids)),
        found=found,
        distances=distances,
        depth=min(len(stored.ids), max(depth, SHOWN)),
        index_recall=sum(answer.agreed for answer in answers) / truly if truly else None,
        index_queries=sum(answer.truly > 0 for answer in answers),
    )


def _scores(
    near: npt.NDArray[np.int32],
    deep: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
    relevant: npt.NDArray[np.int64],
    *,
    whole: bool,
) -> Scores:
    """The first ten places from `near`, the rest from `deep`; what neither is deep enough for is NaN."""
    scores = metrics.score(deep, labels, relevant, complete=whole)
    ordinary = metrics.score(near, labels, relevant)
    right = scores.right.copy()
    right[:, :SHOWN] = ordinary.right[:, :SHOWN]
    precision = scores.average_precision
    if not whole and deep.shape[1] < metrics.DEPTH:
        precision = np.full(len(labels), np.nan)
    return replace(scores, right=right, nearest=ordinary.nearest, voted=ordinary.voted, average_precision=precision)


def _notes(main: Way, listed: int, asked: int, plan: Plan) -> tuple[str, ...]:
    notes = ["P@k, recall@k, k-NN and the confusion come from searches for ten neighbours, as users make them."]
    if plan.depth:
        notes.append(f"mAP comes from searches for {plan.depth:,} neighbours, for which the index looks at more.")
    if asked < listed:
        notes.append(f"{asked:,} of {listed:,} pictures were asked, evenly spread; --limit asks with more.")
    same = int((main.distances[:, 0] < _SAME).sum())
    if same:
        notes.append(
            f"{same:,} queries have a nearest picture at distance 0: if it is the query itself, stored in another encoding, "
            "the figures are too good."
        )
    return tuple(notes)


def _subject(collection: Collection, target: str) -> Subject:
    spaces = ((f"Space {space.name}", f"{kind_text(space)}, fingerprint {space.fingerprint}") for space in collection.spaces)
    facts = (
        ("Gateway", target),
        ("Images", f"{collection.image_count:,}"),
        ("Generation", str(collection.generation)),
        *spaces,
    )
    return Subject("collection", collection.name, collection.default_space.fingerprint, facts)


def _summary(listed: Listing, queries: Listing, collection: Collection) -> DataSummary:
    """The digest is over the queries' names and labels: their pixels are the gateway's to decode."""
    digest = hashlib.sha256("\n".join(queries.uris).encode("utf-8", "replace") + queries.labels.astype("<i4").tobytes())
    name = f"{listed.name} among collection {collection.name}"
    return DataSummary(name, len(queries), len(listed.classes), listed.licence, listed.source, digest.hexdigest()[:16])
