"""This gateway and this indexer beside an embedder of the last release, which is what was recorded of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.errors import BadImage, FingerprintMismatch
from lookalike.spaces import Metric
from tests import recorded
from tests.recorded import MODEL_FINGERPRINT, Exchange


@pytest.mark.parametrize("later", [False, True], ids=["released", "later"])
def test_an_embedder_of_the_last_release_or_of_a_later_one_is_asked_as_it_was_and_understood(later: bool) -> None:
    left, asked = recorded.read_exchanges(), list[tuple[str, bytes]]()

    def answer(method: str, request: bytes) -> Exchange:
        asked.append((method, request))
        then = left.pop(0)
        return replace(then, answer=recorded.of_later(f"{method}Response", then.answer)) if later and not then.code else then

    with recorded.answering(answer) as target:
        made = recorded.call_everything(target, MODEL_FINGERPRINT)

    then = [(one.method, recorded.released(f"{one.method}Request", one.request)) for one in recorded.read_exchanges()]
    assert [(method, recorded.released(f"{method}Request", request)) for method, request in asked] == then

    assert made.described == made.described_in_bulk == recorded.spaces(MODEL_FINGERPRINT)
    assert [(space.name, space.dimension, space.metric) for space in made.default] == [
        ("histogram", 256, Metric.L2),
        ("siamese", 8, Metric.COSINE),
    ]
    for vectors, refused in (made.embedded, made.in_bulk):
        assert isinstance(vectors, dict)
        assert {name: vector.shape for name, vector in vectors.items()} == {"tones": (96,), "siamese": (8,)}
        np.testing.assert_allclose(vectors["tones"].sum(), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors["siamese"]), 1, atol=1e-5)
        assert isinstance(refused, BadImage)
        assert refused.reason == "IMAGE_FORMAT_UNKNOWN"
    assert made.thumbnail.startswith(b"\xff\xd8")
    assert isinstance(made.refusal, FingerprintMismatch)
    assert made.refusal.metadata == {"space": "siamese", "expected": "0123456789abcdef", "actual": MODEL_FINGERPRINT}
