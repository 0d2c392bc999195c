"""What a batch gives becomes an answer, picture by picture."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.serving.service import _result
from embedder.serving.spaces import Embedded
from lookalike.errors import BadImage, Internal
from lookalike.wire.status import from_status

HALF = np.full(4, 0.5, np.float32)
ZEROS = np.zeros(4, np.float32)


def test_a_picture_in_which_the_model_sees_nothing_fails_alone() -> None:
    seen, unseen = (_result(("siamese",), Embedded(None, vector)) for vector in (HALF, ZEROS))
    assert np.frombuffer(seen.vectors[0], "<f4").tolist() == HALF.tolist()
    error = from_status(unseen.error)
    assert isinstance(error, BadImage)
    assert error.reason == "IMAGE_WITHOUT_FEATURES"
    assert not unseen.vectors


def test_a_batch_that_failed_fails_the_call() -> None:
    with pytest.raises(Internal):
        _result(("siamese",), Internal("broke down"))
