"""`python -m embedder`: reads the settings, wires the parts, warms up, serves until SIGTERM or SIGINT. Nothing else.

Ends with code 2 and one line where a setting, a bundle, the engine, the device or the address is wrong. Where its health may be
asked for (`LOOKALIKE_EMBEDDER_HEALTH_ADDRESS`), it waits for a GPU that is missing, and is not ready.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # The imports below take a second, and process 1 of a container is spared every signal that it has not asked for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

import contextlib
import ctypes
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Gauge, Info

from embedder.models import bundle as bundles
from embedder.models.gpu_wait import GPU, GPU_MISSING, wait_for_gpu
from embedder.pictures.decode import Decoder
from embedder.registry.registry import Registry
from embedder.serving.admission import Limits
from embedder.serving.batcher import Batcher
from embedder.serving.openvino_engine import OpenVino
from embedder.settings import EmbedderSettings
from lookalike.errors import FailedPrecondition, LookalikeError
from lookalike.runtime.environment import load_settings, refuse_setting
from lookalike.runtime.server import Server, Servicer, build_health_server, build_server
from lookalike.runtime.telemetry import DEPENDENCY_UP, configure_logging, serve_metrics
from lookalike.runtime.tracing import configure_tracing
from lookalike.v1.embedder_service_pb2_grpc import add_EmbedderServiceServicer_to_server

if TYPE_CHECKING:
    from embedder.models.model import Device
    from embedder.pictures.cage import Cage
    from embedder.serving.decode_pool import DecodePool
    from embedder.serving.service import EmbedderService
    from embedder.serving.spaces import Embedded, TracedModel, Work
    from embedder.serving.versions import Served, Serving
    from embedder.serving.watching import RegistryWatcher

DEVICE = Info("lookalike_embedder_device", "The device that the models run on.")
ENGINE = Info("lookalike_embedder_engine", "What computes the models' vectors: tensorflow or openvino.")
WARM = Gauge("lookalike_embedder_warm", "1 once every model is traced and has run.")
_UNUSED = ("jax", "pandas")
"""Packages that TensorFlow and Keras import where they are installed, for inputs that no model here gets. Without them an
embedder starts a second sooner and takes 200 MB less."""
_SPARE_CALLS = 16
"""Calls beyond those that the batcher admits: to be refused, for health checks and for descriptions."""
_SAID = 300
"""Characters of what Keras says."""
_SIGNAL_S = 0.5
"""Between two looks for a signal to stop."""
_LOAD_END_S = 5.0
"""What a model that is being loaded may take to end when the process stops."""
_FIRST_LOOK_S = 60.0
"""Longest that a registry may delay READY, with what it takes to load all that it holds; after that serving starts without the
rest, which is UNAVAILABLE until it is loaded."""


def main() -> None:
    settings = load_settings(EmbedderSettings)
    configure_logging(settings, "embedder")
    send_last_spans = configure_tracing(settings, "embedder")
    warnings.filterwarnings("ignore", module="PIL")  # about damaged pictures: the caller gets the error, the log needs none
    # TensorFlow's C++ side logs to standard error in a format of its own; its errors still come.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        health = build_health_server(settings.embedder_health_address)
        serve_metrics(settings.embedder_metrics_port, host=settings.embedder_metrics_host)
        try:
            serve(settings, stop, health)
        except FailedPrecondition as error:
            if error.reason != GPU_MISSING or health is None:
                raise
            if wait_for_gpu(error, stop):
                os.execv(sys.executable, [sys.executable, "-m", "embedder"])  # noqa: S606 - this very program
    except _Stopped:
        structlog.get_logger().info("stopped", before="ready")
    except LookalikeError as error:
        refuse_setting(settings, error)
        sys.stderr.write(f"lookalike: the embedder does not start: {error.message}\n")
        raise SystemExit(2) from None
    finally:
        send_last_spans()


def serve(settings: EmbedderSettings, stop: threading.Event, health: Server | None) -> None:
    """Serve until `stop`; `health` shows it too. Raises a `LookalikeError` where it cannot start."""
    # Before TensorFlow is imported, so that a wrong path or a missing engine is reported at once and not seconds later.
    fixed = read_bundles(settings.embedder_models)
    compile_tower = OpenVino(settings.cores).compile_tower if settings.embedder_engine == "openvino" else None
    registry = Registry(settings.embedder_registry) if settings.embedder_registry else None
    for unused in _UNUSED:
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]  # None there is Python's own mark of a module that is not

    from embedder.models.model import execution_on, set_up_tensorflow
    from embedder.serving.decode_pool import DecodePool
    from embedder.serving.spaces import Spaces
    from embedder.serving.versions import Serving, build_served

    device = set_up_tensorflow("cpu" if compile_tower else settings.embedder_device, settings.cores)
    if settings.embedder_device == "gpu":
        DEPENDENCY_UP.labels(GPU).set(1)
    spaces = Spaces()
    build = partial(
        build_served,
        largest_batch=settings.embedder_batch_images,
        compile_tower=compile_tower,
        execution=execution_on(device),
    )
    serving = Serving([_built(build, bundle, stop) for bundle in fixed], complete=registry is None)
    batcher = Batcher(spaces.compute, lambda work: work.size_bytes, _limits(settings))
    pool = DecodePool(settings.cores)
    cage = _cage(settings)
    service, server = _listening(settings, serving, device, pool, cage, batcher)
    spaces.warm_up()
    for served, _ in serving:
        _warm_up(served.traced, stop)
    watcher = _watching(registry, serving, build, settings.embedder_registry_poll_s, stop) if registry else None
    _settle_memory()
    service.set_warm()
    WARM.set(1)
    servers = [server] if health is None else [server, health]
    for one in servers:
        one.set_ready(True)
    models = [one.bundle.name for one, current in serving if current]
    running = {"device": str(device), "engine": settings.embedder_engine}
    structlog.get_logger().info("ready", port=server.port, **running, models=models)
    # Not one wait without end: a signal that the system hands to one of TensorFlow's threads does not wake this one up, and
    # Python runs its handler in this one only.
    while not stop.wait(_SIGNAL_S):
        pass
    structlog.get_logger().info("stopping", drain_s=settings.embedder_drain_s)
    if health is not None:
        health.set_ready(False)
    server.stop(settings.embedder_drain_s)
    if watcher:
        watcher.close(_LOAD_END_S)  # TensorFlow does not like to be left in the middle of something.
    batcher.close(1.0)
    pool.close()
    cage.close()
    structlog.get_logger().info("stopped")


def _cage(settings: EmbedderSettings) -> Cage:
    from embedder.pictures.cage import Cage
    from embedder.serving.decode_pool import count_repair

    return Cage(
        processes=settings.caged_processes,
        memory_bytes=settings.embedder_caged_bytes,
        max_pixels=settings.embedder_max_image_pixels,
        processor_s=settings.embedder_caged_processor_s,
        repaired=count_repair,
    )


def _settle_memory() -> None:
    """Keep what is there out of every collection that follows, and give back what is free.

    A full collection would look at a few hundred thousand objects, and no call is answered meanwhile. Tracing and warming up
    have freed some 100 MB, which malloc would keep (malloc_trim(3); only glibc has it).
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _watching(
    registry: Registry, serving: Serving, build: Callable[[bundles.Bundle], Served], poll_s: float, stop: threading.Event
) -> RegistryWatcher:
    """A watcher that has loaded what the registry holds, or has tried to, for a minute at most."""
    from embedder.serving.watching import RegistryWatcher

    def build_warm(bundle: bundles.Bundle) -> Served:
        served = build(bundle)
        _warm_up(served.traced)
        return served

    watcher = RegistryWatcher(registry, serving, build_warm, poll_s=poll_s)
    watcher.start()
    until_s = time.monotonic() + _FIRST_LOOK_S
    while not stop.is_set() and time.monotonic() < until_s and not watcher.wait_for_first_look(_SIGNAL_S):
        pass
    return watcher


def _listening(
    settings: EmbedderSettings,
    serving: Serving,
    device: Device,
    pool: DecodePool,
    cage: Cage,
    batcher: Batcher[Work, Embedded],
) -> tuple[EmbedderService, Server]:
    """The service, already answering health checks (NOT_SERVING) and what needs no warm model."""
    from embedder.models.model import publish_gpu_memory
    from embedder.pictures.cage import largest_bytes
    from embedder.serving.decode_pool import count_repair
    from embedder.serving.service import FULL_NAME, EmbedderService

    service = EmbedderService(
        serving,
        str(device),
        settings.embedder_engine,
        decoder=Decoder(
            max_bytes=settings.embedder_max_image_bytes,
            max_pixels=settings.embedder_max_image_pixels,
            max_memory_bytes=largest_bytes(settings.embedder_caged_bytes),
            repaired=count_repair,
        ),
        pool=pool,
        cage=cage,
        batcher=batcher,
        call_timeout_s=settings.embedder_call_timeout_s,
    )
    server = build_server(
        [Servicer(add_EmbedderServiceServicer_to_server, service, FULL_NAME)],
        address=settings.embedder_address,
        # Every call that the batcher admits, of both lanes, finds a thread, and some are left to refuse others with a reason.
        # No call waits for a thread: its pictures would be held outside of the batcher's bound on bytes.
        threads=2 * settings.embedder_queue_calls + _SPARE_CALLS,
        max_concurrent=2 * settings.embedder_queue_calls + _SPARE_CALLS,
    )
    batcher.watch_door(server.at_the_door)
    server.start()
    DEVICE.info({"kind": device.kind, "name": device.name})
    publish_gpu_memory(device)
    ENGINE.info({"name": settings.embedder_engine})
    fingerprints = dict(served.key for served, _ in serving)
    running = {"device": str(device), "engine": settings.embedder_engine, "cores": settings.cores}
    structlog.get_logger().info("warming up", port=server.port, **running, models=fingerprints)
    return service, server


def read_bundles(folders: Sequence[Path]) -> list[bundles.Bundle]:
    """The bundles in `folders`. Raises what `bundle.load` does, and `FailedPrecondition` where two have one name or there are
    none."""
    read = [bundles.load(folder) for folder in folders]
    names = [bundle.name for bundle in read]
    if not read:
        raise FailedPrecondition("there is no model to serve: name a bundle's folder in LOOKALIKE_EMBEDDER_MODELS")
    for name in names:
        if names.count(name) > 1:
            raise FailedPrecondition(f"two bundles are called {name!r}; the names of served models must differ")
    return read


def _limits(settings: EmbedderSettings) -> Limits:
    return Limits(
        batch_items=settings.embedder_batch_images,
        batch_bytes=settings.embedder_batch_bytes,
        queue_items=settings.embedder_queue_images,
        queue_bytes=settings.embedder_queue_bytes,
        queue_calls=settings.embedder_queue_calls,
    )


class _Stopped(Exception):
    """A signal to stop came before the process was ready: the rest of loading may take longer than its supervisor waits."""


def _built(build: Callable[[bundles.Bundle], Served], bundle: bundles.Bundle, stop: threading.Event) -> Served:
    if stop.is_set():
        raise _Stopped
    try:
        return build(bundle)
    except LookalikeError:
        raise
    except Exception as error:
        problem = " ".join(str(error).split())[:_SAID]
        raise FailedPrecondition(f"model {bundle.name!r} cannot be built: {type(error).__name__}: {problem}") from error


def _warm_up(model: TracedModel, stop: threading.Event | None = None) -> None:
    log, name = structlog.get_logger(), model.bundle.name

    def traced(size: int, spent_s: float) -> None:
        log.debug("traced", model=name, batch=size, seconds=round(spent_s, 3))
        if stop is not None and stop.is_set():
            raise _Stopped

    model.warm_up(traced)


if __name__ == "__main__":
    main()
