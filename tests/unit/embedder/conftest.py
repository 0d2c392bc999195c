"""What tests of the embedder share: TensorFlow without traces, for runs of so few steps that a trace takes longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def eagerly() -> Iterator[None]:
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
