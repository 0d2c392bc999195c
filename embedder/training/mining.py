"""Which pairs and triplets a tower is shown, the easy ones first: curriculum order, as SimNet was trained (Appalaraju & Chaoji
2017, arXiv 1709.08761, section 3.3).

Pairs drawn at random are soon easy and teach nothing more; the hardest ones from the start teach an untrained tower
nothing either. So a run begins with random ones, and from a quarter of its epochs on a growing share is the hardest by the
distances of the tower as it is then. NumPy only; `pairs` and `batches` build batches of what is chosen here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Mining = Literal["curriculum", "random"]
HARD_SHARE = 0.25
"""Of the pairs of the last epoch: with more, wrong labels and doubtful pictures are much of what a tower sees. Contrastive
loss, 3,000 pictures of Fashion-MNIST, 16 epochs, a tower of 16, 32 and 32 filters, 1,000 queries, mean of two seeds: P@1 .781
with random pairs throughout, .777 with a quarter of hard ones at the end, .768 with a half; mAP@R .450, .437, .426. So short a
run of so few classes does not profit."""
EASY_PART = 0.25
"""Of the epochs: with random pairs only."""
POOL = 4096
"""Pictures among which the hardest are looked for in an epoch: 4,096 x 4,096 float32 cosines are 64 MiB."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """`first` and `second` int64 `[n]` are rows of pictures; `same` int32 `[n]` is 1 for pairs of the same thing, else 0."""

    first: Rows
    second: Rows
    same: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.same)

    def rows(self, chosen: npt.NDArray[np.int64]) -> Pairs:
        return Pairs(self.first[chosen], self.second[chosen], self.same[chosen])

    def joined(self, other: Pairs) -> Pairs:
        first, second = np.concatenate([self.first, other.first]), np.concatenate([self.second, other.second])
        return Pairs(first, second, np.concatenate([self.same, other.same]))

    @property
    def digest(self) -> str:
        """16 hex digits over all three, in order."""
        stored = (np.ascontiguousarray(part, "<i8").tobytes() for part in (self.first, self.second, self.same))
        return hashlib.sha256(b"".join(stored)).hexdigest()[:16]


def hard_share(epoch: int, epochs: int, mining: Mining) -> float:
    """Part of the pairs of `epoch` (from 0) that are the hardest: none in the first quarter, then rising to `HARD_SHARE`."""
    easy = EASY_PART * epochs
    if mining == "random" or epoch < easy or epochs < 2:
        return 0.0
    return HARD_SHARE * min(1.0, (epoch + 1 - easy) / (epochs - easy))


def random_pairs(labels: npt.NDArray[np.int32], count: int, rng: np.random.Generator) -> Pairs:
    """`count` pairs, half of them of one class, for anchors drawn evenly among pictures that have a partner of either kind."""
    by_label = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    places = np.argsort(by_label)  # of each picture in `by_label`
    alike = rng.permutation(np.arange(count) % 2)
    # A class of one has no partner inside it, and one that is all there is none outside.
    size = sizes[labels]
    anchors = np.where(
        alike, _drawn(np.flatnonzero(size > 1), count, rng), _drawn(np.flatnonzero(size < len(labels)), count, rng)
    )
    size, start = sizes[labels[anchors]], starts[labels[anchors]]
    draw = rng.random(count)
    inside = np.floor(draw * (size - 1)).astype(np.int64) + start
    inside += inside >= places[anchors]
    outside = np.floor(draw * (len(labels) - size)).astype(np.int64)
    outside += np.where(outside >= start, size, 0)
    partners = by_label[np.where(alike, inside, outside)]
    return Pairs(anchors, partners, alike.astype(np.int32))


def hardest_pairs(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], count: int) -> Pairs:
    """At most `count` pairs of the pictures given (unit rows), half of them each anchor's farthest of its class and half its
    nearest of another; where that is not enough, the second farthest and nearest, and so on."""
    cosines = embeddings @ embeddings.T
    same = labels[:, None] == labels[None, :]
    farthest = _extreme(np.where(same & ~np.eye(len(labels), dtype=bool), -cosines, -np.inf), count - count // 2)
    nearest = _extreme(np.where(same, -np.inf, cosines), count // 2)
    alike = np.repeat(np.array([1, 0], np.int32), [len(farthest[0]), len(nearest[0])])
    return Pairs(np.concatenate([farthest[0], nearest[0]]), np.concatenate([farthest[1], nearest[1]]), alike)


def hardest_triplets(embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], count: int) -> Rows:
    """At most `count` of (anchor, its farthest of its class, its nearest of another): int64 `[count, 3]`, the hardest first."""
    cosines = embeddings @ embeddings.T
    same = labels[:, None] == labels[None, :]
    inside = np.where(same & ~np.eye(len(labels), dtype=bool), cosines, np.inf)
    outside = np.where(same, -np.inf, cosines)
    farthest, nearest = inside.argmin(1), outside.argmax(1)
    rows = np.arange(len(labels))
    hardness = outside[rows, nearest] - inside[rows, farthest]
    order = np.argsort(-hardness, kind="stable")
    order = order[np.isfinite(hardness[order])][:count]
    return np.stack([order, farthest[order], nearest[order]], axis=1)


def hardest_given(cosines: npt.NDArray[np.float32], same: npt.NDArray[np.int32], count: int) -> Rows:
    """At most `count` of given pairs, by the cosine and kind of each: half of them those of the same thing that lie farthest
    apart, half those of different things that lie nearest."""
    alike, other = np.flatnonzero(same == 1), np.flatnonzero(same == 0)
    farthest = alike[np.argsort(cosines[alike], kind="stable")][: count - count // 2]
    nearest = other[np.argsort(-cosines[other], kind="stable")][: count // 2]
    return np.concatenate([farthest, nearest])


def _drawn(pool: Rows, count: int, rng: np.random.Generator) -> Rows:
    return pool[rng.integers(0, len(pool), count)] if len(pool) else np.zeros(count, np.int64)


def _extreme(hardness: npt.NDArray[np.float32], count: int) -> tuple[Rows, Rows]:
    """The `count` hardest (anchor, partner), by each anchor's own order of hardness first: every anchor has its turn."""
    n = len(hardness)
    per_anchor = min(n - 1, -(-count // n)) if n > 1 else 0
    if not per_anchor:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    partners = np.argpartition(-hardness, per_anchor - 1, axis=1)[:, :per_anchor]
    values = np.take_along_axis(hardness, partners, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    partners, values = np.take_along_axis(partners, order, 1), np.take_along_axis(values, order, 1)
    turn = np.lexsort((-values.ravel(), np.tile(np.arange(per_anchor), n)))
    turn = turn[np.isfinite(values.ravel()[turn])][:count]
    return turn // per_anchor, partners.ravel()[turn]
