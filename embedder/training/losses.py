"""What a tower is trained to make small. Each loss takes unit embeddings and integer labels and returns a scalar.

`keras.ops` only, so that any Keras backend can run them.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any
"""A tensor of whichever backend Keras runs on."""

SCALE = 16.0
"""Sharpness of the softmax over cosines: unit vectors need one, or the loss cannot become small (Zhai & Wu 2018)."""
LABEL_SMOOTHING = 0.05
TEMPERATURE = 0.1
"""Khosla et al. 2020, section 4: 0.1 was the best they tried."""
CONTRASTIVE_WEIGHT = 0.5


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
