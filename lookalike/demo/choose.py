"""Which queries the contact sheet shows: the first of every class, then the first two, of two classes, whose
nearest by Siamese features is of another class."""

from __future__ import annotations

from collections.abc import Sequence

from lookalike.client import Client
from lookalike.demo.dataset import Pictures
from lookalike.demo.measure import Hit
from lookalike.demo.sheet import Row
from lookalike.fashion_mnist import CLASS_NAMES
from lookalike.spaces import HISTOGRAM

_MISSES = 2


def sheet_rows(
    client: Client,
    collection: str,
    queries: Pictures,
    by_histogram: Sequence[tuple[Hit, ...]],
    by_siamese: Sequence[tuple[Hit, ...]],
) -> list[Row]:
    """The rows, with each query's histogram as the system itself counts it. Raises what the client raises."""
    rows = []
    for index, remark in chosen(queries, by_siamese):
        answer = client.search(collection, image=queries.png(index), spaces=(HISTOGRAM,), top_k=1, include_query_vectors=True)
        rows.append(
            Row(
                pixels=queries.images[index],
                label=queries.label(index),
                histogram=answer.query_vectors[HISTOGRAM],
                by_histogram=by_histogram[index],
                by_siamese=by_siamese[index],
                remark=remark,
            )
        )
    return rows


def chosen(queries: Pictures, by_siamese: Sequence[tuple[Hit, ...]]) -> list[tuple[int, str]]:
    """Index and remark of each query to show, without looking at the answers of the first of every class."""
    labels = [queries.label(index) for index in range(len(queries))]
    rows = [(labels.index(name), "") for name in CLASS_NAMES if name in labels]
    first, missed = {index for index, _ in rows}, set[str]()
    for index, found in enumerate(by_siamese):
        is_miss = bool(found) and found[0].label != labels[index]
        if is_miss and index not in first and labels[index] not in missed and len(missed) < _MISSES:
            missed.add(labels[index])
            rows.append((index, "a miss"))
    return rows
