"""An embedder for tests: small towers with random weights, traced once per test run, behind a real gRPC server."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embedder.models.bundle import Bundle, InputSpec, TowerConfig
from embedder.pictures.cage import Cage
from embedder.pictures.decode import Decoder
from embedder.serving.admission import Limits
from embedder.serving.batcher import Batcher
from embedder.serving.decode_pool import DecodePool
from lookalike.runtime.server import Servicer, build_server

LARGEST_BATCH = 8


@functools.cache
def random_bundle(name: str, *, color: bool = False, mirror: bool = True) -> Bundle:
    """A bundle whose weights are random, but the same in every run."""
    import keras

    from embedder.models.tower import build_tower

    keras.utils.set_random_seed(1)
    channels = 3 if color else 1
    tower = TowerConfig(input_size=20 if color else 16, channels=channels, widths=(4, 8, 8), embedding_dim=12 if color else 8)
    return Bundle(
        name=name,
        tower=tower,
        input=InputSpec(mean=(0.4,) * channels, std=(0.3,) * channels, mirror=mirror),
        weights=tuple(build_tower(tower).get_weights()),
        metrics={"p_at_1": 0.25},
        provenance={"data": "none", "epochs": 0},
    )


@functools.cache
def models():  # type: ignore[no-untyped-def]  # TensorFlow is imported only by tests that ask for it
    """The models `small` (grey, 16 pixels, 8 values; mirrored) and `colour` (RGB, 20 pixels, 12 values)."""
    from embedder.models.model import Model

    return Model(random_bundle("small")), Model(random_bundle("colour", color=True, mirror=False))


@functools.cache
def traced():  # type: ignore[no-untyped-def]
    """`models()`, traced and warm."""
    from embedder.serving.spaces import TracedModel

    made = tuple(TracedModel(model, LARGEST_BATCH) for model in models())
    for model in made:
        model.warm_up(lambda *_: None)
    return made


@functools.cache
def warm_spaces():  # type: ignore[no-untyped-def]
    """`Spaces`, warm."""
    from embedder.serving.spaces import Spaces

    spaces = Spaces()
    spaces.warm_up()
    return spaces


def served(model: Any) -> Any:
    """A `TracedModel` as `Serving` holds it."""
    from embedder.serving.versions import Served

    return Served(model.bundle, model.bundle.fingerprint, model)


def small_serving() -> Any:
    """A `Serving` of `models()`, the first the default."""
    from embedder.serving.versions import Serving

    return Serving([served(model) for model in traced()])


@contextmanager
def serving(limits: Limits | None = None, *, warm: bool = True) -> Iterator[str]:
    """Serve `models()` on a free port of 127.0.0.1; gives the target to call."""
    from embedder.serving.service import FULL_NAME, EmbedderService
    from lookalike.v1.embedder_service_pb2_grpc import add_EmbedderServiceServicer_to_server

    batcher = Batcher(warm_spaces().compute, lambda work: work.size_bytes, limits or Limits(batch_items=LARGEST_BATCH))
    pool = DecodePool(2)
    decoder = Decoder()
    cage = Cage(processes=2, memory_bytes=1_200_000_000, max_pixels=decoder.max_pixels, processor_s=10.0)
    service = EmbedderService(
        small_serving(), "CPU", "tensorflow", decoder=decoder, pool=pool, cage=cage, batcher=batcher, call_timeout_s=60.0
    )
    servicer = Servicer(add_EmbedderServiceServicer_to_server, service, FULL_NAME)
    server = build_server([servicer], address="127.0.0.1:0", threads=80, max_concurrent=200)
    server.start()
    if warm:
        service.set_warm()
        server.set_ready(True)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop(5.0)
        batcher.close(5.0)
        pool.close()
        cage.close()
