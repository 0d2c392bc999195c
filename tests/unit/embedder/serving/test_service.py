"""What a batch gives becomes an answer, picture by picture."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.pictures.waiting import Lane
from embedder.serving.service import _Question, _result
from embedder.serving.versions import Served
from lookalike.errors import BadImage, Internal
from lookalike.spaces import HistogramSettings
from lookalike.wire.status import from_status
from tests.servers.embedder import random_bundle

HALF = np.full(4, 0.5, np.float32)
ZEROS = np.zeros(4, np.float32)


def question() -> _Question:
    """One histogram, and two spaces that one model fills."""
    settings, small = HistogramSettings(), Served(random_bundle("small"), "1" * 16, None)  # type: ignore[arg-type]
    spaces = (small.space("photo"), settings.space(), small.space("again"))
    return _Question(spaces, (settings, small), (1, 0, 1), [], Lane.BULK)


def test_a_picture_in_which_the_model_sees_nothing_fails_alone() -> None:
    seen, unseen = (_result(question(), (ZEROS, vector)) for vector in (HALF, ZEROS))
    assert [np.frombuffer(vector, "<f4").tolist() for vector in seen.vectors] == [HALF.tolist(), ZEROS.tolist(), HALF.tolist()]
    error = from_status(unseen.error)
    assert isinstance(error, BadImage)
    assert error.reason == "IMAGE_WITHOUT_FEATURES"
    assert not unseen.vectors


def test_a_batch_that_failed_fails_the_call() -> None:
    with pytest.raises(Internal):
        _result(question(), Internal("broke down"))
