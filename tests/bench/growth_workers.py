"""The growth bench with one process and with two: jobs by indexer workers, and queries by vector through gateways.

Rounds with one and with two change places, so that a busy machine meets both alike. Everything shares the machine's cores: what
a second process adds is what the first one and the servers had left of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from lookalike.spaces import Vector
from tests.bench import ingest
from tests.bench.growth_law import Rates
from tests.bench.growth_sizes import many_callers
from tests.bench.scales import Scale
from tests.bench.system import FASHION, TIMEOUT_S, System
from tests.servers import processes
from tests.servers.fleet import GatewayProcess
from tests.servers.worker import Worker

_READY_WITHIN_S = 120.0


def ingesting(system: System, images: int, rounds: int, scale: Scale, say: Callable[[str], None]) -> list[Rates]:
    """Images a second of jobs of `images` pictures, with one worker and with both; of the collection, nothing is dropped."""
    manifests, said = ingest.write_jobs(system.fleet.folder, replace(scale, vectors=2 * rounds * images, jobs=2 * rounds))
    say(f"{2 * rounds} jobs of {images:,} pictures each, with 1 and 2 workers in turn: {said}")
    system.client.create_collection(FASHION, model=FASHION, timeout_s=TIMEOUT_S)
    second, left = system.fleet.workers[1], iter(manifests)
    one, both = [], []
    for _ in range(rounds):
        second.stop()
        one.append(ingest.ingest(system, next(left), {}))
        _start(second)
        both.append(ingest.ingest(system, next(left), {}))
    return [Rates(1, tuple(one)), Rates(2, tuple(both))]


def searching(system: System, vectors: Vector, ef: int, scale: Scale, say: Callable[[str], None]) -> list[Rates]:
    """Queries a second of 32 callers through one gateway and through two, while nothing is ingested."""
    say("searching through 1 and 2 gateways in turn")
    first = system.fleet.gateway
    second = GatewayProcess(first.redis_url, first.milvus_uri, first.embedder_target, first.folder)
    second.start()
    try:
        alone, together = [first.target], [first.target, second.target]
        once = replace(scale, rounds=1)
        pairs = [
            (many_callers(system, alone, vectors, ef, once), many_callers(system, together, vectors, ef, once))
            for _ in range(scale.rounds)
        ]
    finally:
        second.kill()
    return [
        Rates(1, tuple(rate for one, _ in pairs for rate in one.rounds)),
        Rates(2, tuple(rate for _, two in pairs for rate in two.rounds)),
    ]


def _start(worker: Worker) -> None:
    """Return when it takes tasks: it says so in its log, once for every start."""
    before = _times_ready(worker)
    worker.start()
    processes.until(lambda: _times_ready(worker) > before, "the worker is ready", timeout_s=_READY_WITHIN_S, poll_s=0.1)
    time.sleep(1.0)  # between saying so and asking the broker for the first task


def _times_ready(worker: Worker) -> int:
    return worker.log.read_text(errors="replace").count("ready") if worker.log.exists() else 0
