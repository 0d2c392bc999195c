"""A rolling restart under load: two of each service, one after the other stopped and started; no search fails, no item is lost.

Clients spread their calls over both gateways, and those over both embedders, as over the pods behind a headless service. What
every deployment does is done here: SIGTERM, wait for the end, start, wait until it is ready and has been found by its callers
(Kubernetes: `minReadySeconds`), then the next one.
The short version is part of the suite; `make rolling` restarts everything twice while 5,000 pictures are ingested.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedder.models.bundle import SHIPPED
from lookalike import fashion_mnist
from lookalike.client import Client, JobState
from lookalike.demo import dataset
from lookalike.errors import LookalikeError
from lookalike.records.source import FolderSource
from lookalike.runtime.probe import problem
from tests.servers.fleet import Fleet, GatewayProcess, fleet
from tests.servers.processes import until
from tests.servers.worker import EmbedderProcess, Worker

SEARCHED, INGESTED = "rolling_searched", "rolling_ingested"
_CALLERS = 4
_PAUSE_S = 0.1
"""Between two searches of a caller: a steady load, and not all that two cores can do beside what is being started. In the short
version twice as much."""


@dataclass
class Load:
    """Callers that search all the while, each with pictures of its own order, so that few are in the gateways' caches."""

    client: Client
    pictures: list[bytes]
    pause_s: float = _PAUSE_S
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._search, args=(n,), daemon=True) for n in range(_CALLERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _search(self, number: int) -> None:
        for picture in itertools.islice(itertools.cycle(self.pictures), number * 97, None):
            if self._ended.wait(self.pause_s):
                return
            begun_s = time.monotonic()
            try:
                answer = self.client.search(SEARCHED, image=picture, spaces=["siamese"], top_k=5, timeout_s=20.0)
                if len(answer.neighbours) != 5:
                    self.failed.append(f"{len(answer.neighbours)} neighbours")
            except LookalikeError as error:
                self.failed.append(f"{type(error).__name__}: {error.message}")
            self.answered += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)

    def goes_on(self) -> None:
        """Return when some more searches have been answered: the next part is not taken before the last one works."""
        enough = self.answered + 3 * _CALLERS
        until(lambda: self.answered >= enough, f"searches go on; failed: {self.failed[-3:]}", timeout_s=60)


def restart(part: Worker | GatewayProcess | EmbedderProcess) -> None:
    """As an orchestrator does: SIGTERM, wait for its end, start it, wait until it is ready; and until callers have found it."""
    assert part.stop() == 0, f"{part} did not end by itself"
    part.start()
    if not isinstance(part, Worker):
        until(lambda: not problem(part.target), f"{part.target} is ready", timeout_s=120, poll_s=0.1)
        with httpx.Client(base_url=f"http://{part.metrics_address}") as http:
            until(lambda: _answered(http), f"{part.target} is called again", timeout_s=60, poll_s=0.1)


def _answered(http: httpx.Client) -> bool:
    """Whether a process that has just started has answered a search, or embedded for one."""
    lines = http.get("/metrics").text.splitlines()
    return any(line.startswith("lookalike_rpc_seconds_count{") and 'code="OK"' in line for line in lines)


def rolled(
    system: Fleet,
    parts: Sequence[Worker | GatewayProcess | EmbedderProcess],
    *,
    images: int,
    folder: Path,
    pause_s: float = _PAUSE_S,
) -> Load:
    """`parts` restarted one after the other, while `images` pictures are ingested and searches go on."""
    split = fashion_mnist.load("test", fashion_mnist.SHIPPED)
    for name, first, count in (("first", 0, 200), ("job", 200, images)):
        (folder / name).mkdir()
        for number in range(first, first + count):
            (folder / name / f"{number:05d}.png").write_bytes(dataset.png(split.images[number]))
    with system.client() as client:
        for collection in (SEARCHED, INGESTED):
            client.create_collection(collection)
        *_, filled = client.watch_job(client.create_ingest_job(SEARCHED, FolderSource(str(folder / "first"))).id)
        assert filled.counts.indexed == 200
        queries = [dataset.png(picture) for picture in split.images[-2000:]]
        with Load(client, queries, pause_s) as load:
            load.goes_on()
            job = client.create_ingest_job(INGESTED, FolderSource(str(folder / "job")))
            for part in parts:
                restart(part)
                load.goes_on()
            *_, ended = client.watch_job(job.id, patience_s=120)
        assert ended.state is JobState.SUCCEEDED, (ended.error, system.log())
        assert (ended.counts.submitted, ended.counts.indexed, ended.counts.failed) == (images, images, 0)
        assert client.get_collection(INGESTED).image_count == images
    return load


def test_nothing_fails_and_nothing_is_lost_while_each_service_is_restarted_in_turn(milvus_uri: str, tmp_path: Path) -> None:
    with fleet(tmp_path, milvus_uri, workers=2, embedders=2, gateways=2) as system:
        load = rolled(
            system,
            (system.workers[0], system.gateways[0], system.embedders[0]),
            images=600,
            folder=tmp_path,
            pause_s=2 * _PAUSE_S,
        )
        assert load.failed == [], system.log()
        assert load.answered > 50


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_same_twice_with_five_thousand_pictures(milvus_uri: str, tmp_path: Path) -> None:
    with fleet(tmp_path, milvus_uri, workers=2, embedders=2, gateways=2, models=(SHIPPED / "fashion",)) as system:
        everything: tuple[Any, ...] = (*system.workers, *system.gateways, *system.embedders)
        load = rolled(system, everything * 2, images=5000, folder=tmp_path)
        print(f"\n{load.answered:,} searches answered, {len(load.failed)} failed; the slowest took {load.slowest_s:.1f} s")
        assert load.failed == [], system.log()
