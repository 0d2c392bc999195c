"""Rows of recall: what the gateway finds with its own choice of `ef`, beside exact search over the same vectors.

A hit counts where it is no farther than the true tenth neighbour, so that ties do not count as misses. Not a race: nothing is
interleaved, and the limit is 1.
"""

from __future__ import annotations

import numpy as np

from lookalike.client import SearchResult
from lookalike.spaces import SIAMESE, Metric, Vector
from tests.bench.inputs import fashion_queries, photographs
from tests.bench.rows import Findings
from tests.bench.scales import Scale
from tests.bench.system import FASHION, PHOTO, TOP_K, System

TIED = 1e-5
"""The difference up to which distances count as equal, since float32 cannot distinguish them."""
_ANCHORS, _BATCH = 256, 32


def anchors() -> Vector:
    """float32 `[256, dimension]`: true vectors of the photo tower, of made-up photographs."""
    from tests.bench.pipeline import pipeline, tower

    model, decoder = tower(PHOTO), pipeline().decoder
    bare = model.bare(_BATCH)
    pictures = [decoder.decode(image, model.wanted).tower for image in photographs(_ANCHORS, 320, 240)]
    batches = [np.stack(pictures[start : start + _BATCH]) for start in range(0, _ANCHORS, _BATCH)]
    return np.concatenate([bare(batch) for batch in batches])


def measure(system: System, photo_queries: Vector, scale: Scale, findings: Findings) -> None:
    pictures, client = fashion_queries(), system.client
    found, asked = list[SearchResult](), list[Vector]()
    for index in range(scale.recall_queries):
        answer = client.search(FASHION, image=pictures.png(index), top_k=TOP_K, include_query_vectors=True)
        found.append(answer)
        asked.append(answer.query_vectors[SIAMESE])
    findings.add("recall_fashion", [share_found(system, FASHION, asked, found)], [1.0])
    found = [client.search(PHOTO, vectors={SIAMESE: query}, top_k=TOP_K) for query in photo_queries]
    findings.add("recall_photo", [share_found(system, PHOTO, list(photo_queries), found)], [1.0])
    findings.note(f"recall@{TOP_K}: {len(asked):,} queries each, with ef {found[0].ef}, which the gateway chose")


def share_found(system: System, name: str, queries: list[Vector], answers: list[SearchResult]) -> float:
    """The share of hits that are no farther than the true last neighbour."""
    stored, place = system.vectors[name], {image_id: index for index, image_id in enumerate(system.ids[name])}
    right = 0
    for query, answer in zip(queries, answers, strict=True):
        distances = Metric.COSINE.distance(stored, query)
        worst = np.partition(distances, TOP_K - 1)[TOP_K - 1]
        right += sum(bool(distances[place[hit.image.id]] <= worst + TIED) for hit in answer.neighbours)
    return right / (TOP_K * len(queries))
