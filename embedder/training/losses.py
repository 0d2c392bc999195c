"""What a tower is trained to make small, by name. Each loss takes unit embeddings and what is known of them; returns a scalar.

`keras.ops` only, so that any Keras backend can run them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from keras import ops

from lookalike.errors import InvalidArgument

Tensor = Any
"""A tensor of whichever backend Keras runs on."""

SCALE = 16.0
"""Sharpness of the softmax over cosines: unit vectors need one, or the loss cannot become small (Zhai & Wu 2018)."""
LABEL_SMOOTHING = 0.05
TEMPERATURE = 0.1
"""Khosla et al. 2020, section 4: 0.1 was the best they tried."""
CONTRASTIVE_WEIGHT = 0.5
CONTRASTIVE_MARGIN = 1.0
"""How far apart different pictures are to be; unit vectors are at most 2 apart, random ones about 1.4."""
TRIPLET_MARGIN = 0.2
"""Of squared distances: Schroff et al. 2015, section 3.1."""
_EPSILON = 1e-9
"""Under a root, whose slope at 0 has no bound."""


def normalised_softmax(embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
    """Cross-entropy over the cosines to one learnt proxy per class (Zhai & Wu 2018, arXiv 1811.12649).

    `embeddings` float `[n, d]`, unit rows; `labels` int `[n]`; `proxies` float `[classes, d]`, any length.
    """
    classes = proxies.shape[0]
    logits = SCALE * ops.matmul(embeddings, ops.transpose(ops.normalize(proxies, axis=-1)))
    wanted = ops.one_hot(labels, classes) * (1.0 - LABEL_SMOOTHING) + LABEL_SMOOTHING / classes
    return -ops.mean(ops.sum(wanted * ops.log_softmax(logits, axis=-1), axis=-1))


def supervised_contrastive(embeddings: Tensor, labels: Tensor) -> Tensor:
    """L_out of Khosla et al. 2020 (arXiv 2004.11362, equation 2), with every other row of the batch as the contrast.

    `embeddings` float `[n, d]`, unit rows; `labels` int `[n]`. A row with no partner in the batch adds nothing.
    """
    n = ops.shape(embeddings)[0]
    others = 1.0 - ops.eye(n, dtype=embeddings.dtype)
    logits = ops.matmul(embeddings, ops.transpose(embeddings)) / TEMPERATURE
    logits = logits - 1e9 * (1.0 - others)
    log_share = logits - ops.logsumexp(logits, axis=1, keepdims=True)
    same = ops.cast(ops.equal(labels[:, None], labels[None, :]), embeddings.dtype) * others
    partners = ops.sum(same, axis=1)
    per_row = -ops.sum(same * ops.where(same > 0, log_share, 0.0), axis=1) / ops.maximum(partners, 1.0)
    return ops.sum(per_row) / ops.maximum(ops.sum(ops.cast(partners > 0, embeddings.dtype)), 1.0)


def combined(embeddings: Tensor, labels: Tensor, proxies: Tensor) -> Tensor:
    """The default: where classes lie (softmax) plus how tight each one is (contrastive)."""
    return normalised_softmax(embeddings, labels, proxies) + CONTRASTIVE_WEIGHT * supervised_contrastive(embeddings, labels)


def contrastive(embeddings: Tensor, same: Tensor) -> Tensor:
    """Pulls pairs of the same thing together, pushes others out to a margin: the loss of the original Siamese network
    (Hadsell, Chopra & LeCun 2006, "Dimensionality reduction by learning an invariant mapping", equation 4).

    `embeddings` float `[2n, d]`, unit rows: row i and row n + i are a pair. `same` `[2n]`: 1 or 0, of which the first n count.
    """
    n = ops.shape(embeddings)[0] // 2
    alike = ops.cast(same[:n], embeddings.dtype)
    squares = ops.sum(ops.square(embeddings[:n] - embeddings[n:]), axis=1)
    missing = ops.relu(CONTRASTIVE_MARGIN - ops.sqrt(ops.maximum(squares, _EPSILON)))
    return ops.mean(alike * squares + (1.0 - alike) * ops.square(missing)) / 2


def triplet_semi_hard(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Each row is to be nearer to each of its class than to others, by a margin (Schroff, Kalenichenko & Philbin 2015,
    arXiv 1503.03832, section 3.2): the negative of a pair is the nearest that is farther than its positive ("semi-hard"), or
    the farthest there is where none is.

    `embeddings` float `[n, d]`, unit rows; `labels` int `[n]`. The mean is over all pairs of a class.
    """
    n = ops.shape(embeddings)[0]
    distances = 2.0 - 2.0 * ops.matmul(embeddings, ops.transpose(embeddings))
    same = ops.equal(labels[:, None], labels[None, :])
    beyond = ops.where(same, 9.0, ops.stop_gradient(distances))  # squared distances are at most 4
    by_distance = ops.argsort(beyond, axis=1)
    negatives = ops.sum(ops.cast(ops.logical_not(same), "int32"), axis=1, keepdims=True)
    # How many negatives are no farther than the positive of each pair: where the sorted row goes on is the semi-hard one.
    order = ops.argsort(ops.stop_gradient(distances), axis=1)
    passed = ops.cumsum(ops.take_along_axis(ops.cast(ops.logical_not(same), "int32"), order, axis=1), axis=1)
    nearer = ops.take_along_axis(passed, ops.argsort(order, axis=1), axis=1)
    place = ops.maximum(ops.minimum(nearer, negatives - 1), 0)
    chosen = ops.take_along_axis(by_distance, place, axis=1)
    pairs = ops.cast(same, embeddings.dtype) * (1.0 - ops.eye(n, dtype=embeddings.dtype))
    pairs = pairs * ops.cast(negatives > 0, embeddings.dtype)
    violated = ops.relu(distances - ops.take_along_axis(distances, chosen, axis=1) + TRIPLET_MARGIN)
    return ops.sum(pairs * violated) / ops.maximum(ops.sum(pairs), 1.0)


def nt_xent(embeddings: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Two views of a picture are to find each other among all others of the batch (Chen et al. 2020, arXiv 2002.05709,
    equation 1). Needs no labels.

    `embeddings` float `[2n, d]`, unit rows: row i and row n + i are views of one picture.
    """
    n = ops.shape(embeddings)[0] // 2
    logits = ops.matmul(embeddings, ops.transpose(embeddings)) / temperature
    logits = logits - 1e9 * ops.eye(2 * n, dtype=embeddings.dtype)
    partner = ops.concatenate([embeddings[n:], embeddings[:n]], axis=0)
    return ops.mean(ops.logsumexp(logits, axis=1) - ops.sum(embeddings * partner, axis=1) / temperature)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss by its name. `compute(embeddings, known, proxies)` is a scalar; `known` is what a batch says of its rows.

    `reads` says which batches it is for: `labels` (rows and their classes), `pairs` (row i and row n + i, and whether they are
    the same) or `views` (row i and row n + i are one picture). `proxies`: whether it learns one vector per class. `mines`:
    whether it is trained on pairs or triplets that are chosen, easy ones first (`embedder.training.mining`).
    """

    name: str
    paper: str
    reads: Literal["labels", "pairs", "views"]
    compute: Callable[[Tensor, Tensor, Tensor], Tensor]
    proxies: bool = False
    mines: bool = False


_ZHAI = "Zhai & Wu 2018, arXiv 1811.12649"
_KHOSLA = "Khosla et al. 2020, arXiv 2004.11362"
_LOSSES = (
    Loss("combined", f"{_ZHAI}, plus half of {_KHOSLA}", "labels", combined, proxies=True),
    Loss("normalised-softmax", _ZHAI, "labels", normalised_softmax, proxies=True),
    Loss("supervised-contrastive", _KHOSLA, "labels", lambda z, known, _: supervised_contrastive(z, known)),
    Loss(
        "triplet",
        "Schroff et al. 2015, arXiv 1503.03832",
        "labels",
        lambda z, known, _: triplet_semi_hard(z, known),
        mines=True,
    ),
    Loss("contrastive", "Hadsell, Chopra & LeCun 2006", "pairs", lambda z, known, _: contrastive(z, known), mines=True),
    Loss("nt-xent", "Chen et al. 2020, arXiv 2002.05709", "views", lambda z, _known, _: nt_xent(z)),
)
LOSSES = {loss.name: loss for loss in _LOSSES}


def find_loss(name: str) -> Loss:
    """The loss called `name`. Raises `InvalidArgument` naming those there are."""
    if name not in LOSSES:
        raise InvalidArgument("loss", f"{name!r} is not one of {', '.join(LOSSES)}")
    return LOSSES[name]
