"""Importing Keras without what TensorFlow says about the processor each time."""

from __future__ import annotations

import os
import sys
import tempfile


def import_keras() -> None:
    """Import Keras and its backend. What they write to standard error meanwhile is shown only where the import fails.

    TensorFlow 2.21 reports oneDNN from C++ before anything can be configured; TF_CPP_MIN_LOG_LEVEL silences only what comes
    later.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import keras

            keras.utils.set_random_seed(0)  # imports TensorFlow, where there is one, on every backend
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
