"""Makes one list of neighbours of what each space found. Pure arithmetic; `answer` fetches, this ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.search.plan import Plan
from lookalike.records.image import Hit, StoredImage
from lookalike.records.search import Neighbour, SpaceShare
from lookalike.spaces import Space, Vector


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image and its distance in each of the spaces where it is known so far."""

    image: StoredImage
    distances: Mapping[str, float]


def single(hits: Sequence[Hit], space: Space) -> tuple[Neighbour, ...]:
    """Neighbours from one space, in the order in which the store gave them (by distance, then id)."""
    neighbours = []
    for rank, hit in enumerate(hits, start=1):
        similarity = space.metric.similarity(hit.distance)
        share = SpaceShare(space.name, hit.distance, similarity, similarity)
        neighbours.append(Neighbour(hit.image, rank, hit.distance, similarity, (share,)))
    return tuple(neighbours)


def union(found: Mapping[str, Sequence[Hit]]) -> dict[str, Candidate]:
    """The candidates of every space by id, each with the distances known and whatever vectors came along."""
    candidates: dict[str, Candidate] = {}
    for space, hits in found.items():
        for hit in hits:
            known = candidates.get(hit.image.id)
            image = hit.image if known is None else _with_vectors(known.image, hit.image.vectors)
            distances = {} if known is None else known.distances
            candidates[hit.image.id] = Candidate(image, {**distances, space: hit.distance})
    return candidates


def complete(
    candidates: Mapping[str, Candidate], space: Space, query: Vector, fetched: Mapping[str, StoredImage], *, keep_vectors: bool
) -> dict[str, Candidate]:
    """`candidates` with the distance in `space`, computed from `fetched` vectors where it was missing.

    Candidates whose vector was not there are left out: an image that is written or deleted at this moment is in one space only.
    """
    completed = {}
    for image_id, candidate in candidates.items():
        if space.name in candidate.distances:
            completed[image_id] = candidate
        elif image_id in fetched and space.name in fetched[image_id].vectors:
            vector = fetched[image_id].vectors[space.name]
            distance = max(0.0, float(space.metric.distance(query, vector)))
            image = _with_vectors(candidate.image, {space.name: vector}) if keep_vectors else candidate.image
            completed[image_id] = Candidate(image, {**candidate.distances, space.name: distance})
    return completed


def fuse(candidates: Mapping[str, Candidate], plan: Plan) -> tuple[Neighbour, ...]:
    """The `top_k` nearest by weighted mean of similarities; of equal means the smaller id first. Shares add up to the mean."""
    scored = [(_shares(candidate, plan), candidate.image) for candidate in candidates.values()]
    ranked = sorted(scored, key=lambda pair: (-_total(pair[0]), pair[1].id))[: plan.top_k]
    return tuple(Neighbour(image, rank, None, _total(shares), shares) for rank, (shares, image) in enumerate(ranked, start=1))


def _shares(candidate: Candidate, plan: Plan) -> tuple[SpaceShare, ...]:
    shares = []
    for space, weight in zip(plan.spaces, plan.weights, strict=True):
        distance = candidate.distances[space.name]
        similarity = space.metric.similarity(distance)
        shares.append(SpaceShare(space.name, distance, similarity, weight * similarity))
    return tuple(shares)


def _total(shares: Sequence[SpaceShare]) -> float:
    return sum(share.share for share in shares)


def _with_vectors(image: StoredImage, vectors: Mapping[str, Vector]) -> StoredImage:
    return replace(image, vectors={**image.vectors, **vectors}) if vectors else image
