"""The breadth (`ef`) that searches of a collection need to find a given share of the true neighbours, measured on its images.

`lookalike tune` calls it. It talks to the gateway only. The true neighbours are computed here, over every stored vector, a page
at a time, so memory grows with the queries, not with the collection. Nothing should be written meanwhile: the answers of the
index and the exact ones would then belong to two collections.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from lookalike.client import Client, Image
from lookalike.errors import FailedPrecondition, InvalidArgument, NotFound
from lookalike.names import MAX_PAGE_SIZE, MAX_TOP_K
from lookalike.spaces import Metric, Space

BREADTHS = (
    8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576,
    32768,
)  # fmt: skip
"""The breadths that are tried in order until one is enough: each 1.3 to 1.5 times the one before, up to the contract's
limit."""
TIED = 1e-5
"""Bounds the difference of distances that count as equal, since float32 cannot distinguish them. Recall does not depend on
which of two equal images comes back."""

Distances = npt.NDArray[np.float64]
Report = Callable[[str, int, int], None]
"""A callback for progress: the step, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Step:
    """The result of searches of breadth `ef`: the share of the true neighbours that they found, in [0, 1], and the median time
    of a search alone through the gateway, in seconds."""

    ef: int
    recall: float
    median_s: float


@dataclass(frozen=True, slots=True)
class SpaceTuning:
    """The breadths that were tried in one space, in order, and the smallest that was enough. That is None where none was, and
    where the collection is searched exactly: there one step holds for any breadth."""

    space: str
    steps: tuple[Step, ...]
    ef: int | None


@dataclass(frozen=True, slots=True)
class Tuning:
    """The result of `queries` searches among `images` stored images for their `k` nearest others, with the wanted `recall`."""

    collection: str
    images: int
    queries: int
    k: int
    recall: float
    spaces: tuple[SpaceTuning, ...]
    exact: bool = False

    @property
    def ef(self) -> int | None:
        """The breadth that is enough in each of the spaces; None where one has none, and where any will do."""
        found = [one.ef for one in self.spaces]
        return None if None in found else max(filter(None, found), default=None)


def tune(
    client: Client,
    name: str,
    *,
    recall: float,
    k: int = 10,
    queries: int = 200,
    spaces: Sequence[str] = (),
    seed: int = 0,
    report: Report = lambda _what, _done, _of: None,
) -> Tuning:
    """Find the smallest `ef` with which a share of `recall` (above 0, at most 1) of the true `k` nearest is found, by space.

    `queries` stored images, chosen at random by `seed`, are looked for among the others; `spaces` empty means all. Raises
    `InvalidArgument`, `NotFound` (collection, space), `FailedPrecondition` where the collection holds too few images, and what
    the client raises.
    """
    _check(recall, k, queries)
    collection = client.get_collection(name)
    chosen = _chosen(collection.spaces, spaces)
    ids, images = _sample(client, name, queries, random.Random(seed), collection.image_count, report)  # noqa: S311
    if images <= k:
        problem = f"collection {name!r} holds {images} images; {k} neighbours of one of them need {k + 1}"
        raise FailedPrecondition(problem, reason="TOO_FEW_IMAGES")
    sample = [client.get_image(name, image_id, view="full") for image_id in ids]
    farthest = _farthest(client, name, sample, chosen, k, images, report)
    breadths = [ef for ef in BREADTHS if ef > k][: 1 if collection.exact else None]
    found = tuple(_climb(client, name, space, sample, farthest[space.name], k, recall, breadths, report) for space in chosen)
    if collection.exact:
        found = tuple(replace(one, ef=None) for one in found)
    return Tuning(name, images, len(sample), k, recall, found, exact=collection.exact)


def distances(metric: Metric, queries: Distances, vectors: Distances) -> Distances:
    """Every distance between `queries` `[q, dimension]` and `vectors` `[n, dimension]`: `[q, n]`, Euclidean or 1 - cos.

    By one matrix product, |a|^2 + |b|^2 - 2 a.b, in float64: there it is exact to 1e-7 where two vectors are equal, and float32
    is not.
    """
    if metric not in (Metric.L2, Metric.COSINE):
        raise FailedPrecondition(f"the metric is {metric.value}; this version of lookalike does not know it")
    products = queries @ vectors.T
    own, theirs = np.einsum("ij,ij->i", queries, queries), np.einsum("ij,ij->i", vectors, vectors)
    if metric is Metric.L2:
        return np.asarray(np.sqrt(np.maximum(own[:, None] + theirs - 2 * products, 0)))
    return np.asarray(1 - products / np.maximum(np.sqrt(own)[:, None] * np.sqrt(theirs), 1e-12))


def _check(recall: float, k: int, queries: int) -> None:
    if not 0 < recall <= 1:
        raise InvalidArgument("recall", f"{recall:g} is out of range; above 0 to 1 is allowed")
    if not 1 <= k < MAX_TOP_K:
        raise InvalidArgument("k", f"{k} is out of range; 1 to {MAX_TOP_K - 1} are allowed")
    if queries < 1:
        raise InvalidArgument("queries", f"{queries} is out of range; at least 1 is needed")


def _chosen(there: Sequence[Space], names: Sequence[str]) -> list[Space]:
    by_name = {space.name: space for space in there}
    if unknown := [name for name in names if name not in by_name]:
        raise NotFound("space", unknown[0], hint=f"there are {', '.join(by_name)}", field="spaces")
    return [by_name[name] for name in dict.fromkeys(names)] if names else list(there)


def _sample(client: Client, name: str, count: int, chance: random.Random, of: int, report: Report) -> tuple[list[str], int]:
    """Ids of `count` stored images, or of all where there are fewer; and how many there are in all.

    Each is as likely as any other: what stands in the list changes places with what comes later, ever less often (Vitter's
    algorithm R), so that no more than the sample is held.
    """
    ids: list[str] = []
    seen = 0
    for image in client.list_images(name, page_size=MAX_PAGE_SIZE):
        place = seen if seen < count else chance.randrange(seen + 1)
        if place == len(ids) < count:
            ids.append(image.id)
        elif place < count:
            ids[place] = image.id
        seen += 1
        if seen % MAX_PAGE_SIZE == 0:
            report("choosing queries", seen, max(of, seen))
    return ids, seen


def _farthest(
    client: Client, name: str, sample: Sequence[Image], spaces: Sequence[Space], k: int, of: int, report: Report
) -> dict[str, Distances]:
    """By space, how far the true k-th neighbour of each query is, `[q]`: the query itself left out, every other image seen."""
    queries = {space.name: _stacked(sample, space) for space in spaces}
    nearest = {space.name: np.full((len(sample), k), np.inf) for space in spaces}
    places = {image.id: place for place, image in enumerate(sample)}
    done = 0
    for page in _pages(client, name):
        own = [(places[image.id], row) for row, image in enumerate(page) if image.id in places]
        for space in spaces:
            found = distances(space.metric, queries[space.name], _stacked(page, space))
            for place, row in own:
                found[place, row] = np.inf
            both = np.concatenate([nearest[space.name], found], axis=1)
            nearest[space.name] = np.partition(both, k - 1, axis=1)[:, :k]
        done += len(page)
        report("searching exactly", done, max(of, done))
    return {space: found.max(axis=1) for space, found in nearest.items()}


def _pages(client: Client, name: str) -> Iterator[list[Image]]:
    images = client.list_images(name, page_size=MAX_PAGE_SIZE, view="full")
    while page := list(islice(images, MAX_PAGE_SIZE)):
        yield page


def _climb(
    client: Client,
    name: str,
    space: Space,
    sample: Sequence[Image],
    farthest: Distances,
    k: int,
    recall: float,
    breadths: Sequence[int],
    report: Report,
) -> SpaceTuning:
    """Try broader searches until one finds enough."""
    steps: list[Step] = []
    for ef in breadths:
        report(f"{space.name}, ef {ef:,}", len(steps), len(breadths))
        found = _share_found(client, name, space, sample, farthest, k, ef)
        # Asked once more, as people ask: without the vectors, which only the measuring needs. Both times by one caller.
        times_s = [_time_s(client, name, space, image, k, ef) for image in sample]
        steps.append(Step(ef, found, statistics.median(times_s)))
        if found >= recall:
            return SpaceTuning(space.name, tuple(steps), ef)
    return SpaceTuning(space.name, tuple(steps), None)


def _share_found(
    client: Client, name: str, space: Space, sample: Sequence[Image], farthest: Distances, k: int, ef: int
) -> float:
    """The share of hits no farther than the true k-th neighbour; what is missing from an answer counts as not found."""
    right = 0
    for image, bound in zip(sample, farthest, strict=True):
        # Its own copy is among them, as a rule: one more is asked for, and it is left out.
        answer = client.search(
            name, vectors={space.name: image.vectors[space.name]}, spaces=[space.name], top_k=k + 1, ef=ef, view="full"
        )
        others = [hit.image for hit in answer.neighbours if hit.image.id != image.id][:k]
        if others:
            found = distances(space.metric, _stacked([image], space), _stacked(others, space))
            right += int((found <= bound + TIED).sum())
    return right / (k * len(sample))


def _time_s(client: Client, name: str, space: Space, image: Image, k: int, ef: int) -> float:
    started_s = time.perf_counter()
    client.search(name, vectors={space.name: image.vectors[space.name]}, spaces=[space.name], top_k=k + 1, ef=ef)
    return time.perf_counter() - started_s


def _stacked(images: Sequence[Image], space: Space) -> Distances:
    return np.stack([image.vectors[space.name] for image in images]).astype(np.float64)
