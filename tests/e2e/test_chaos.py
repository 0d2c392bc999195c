"""Kill every part of the system in turn while a job runs: it ends by itself, adds up, and hides nothing.

Real processes throughout: redis-server (every write forced to the disk), Milvus 2.3.5, the embedder, the workers, the gateway.
The short version is part of the suite; `make chaos` runs the whole one, in which Milvus is killed too.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from embedder.models.bundle import SHIPPED
from lookalike import fashion_mnist
from lookalike.client import Client, Job, JobState, ManifestSource
from lookalike.demo import dataset
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import Connection, connect
from lookalike.store.milvus.vectors import MilvusVectors
from tests.servers.fleet import Fleet, Part, fleet
from tests.servers.milvus import RealServer, why_no_milvus
from tests.servers.processes import until

COLLECTION = "chaos"
_BAD: dict[str, bytes | None] = {
    "text.png": b"not a picture",
    "cut.png": b"\x89PNG\r\n\x1a\n and then nothing",
    "empty.png": b"",
    "missing.png": None,
    "/etc/hostname": None,
}
"""By URI; None writes no file."""
_ENDS_WITHIN_S = 200.0


@dataclass(frozen=True)
class Load:
    """What a job is to ingest: `good` pictures, `bad` files and `duplicates`, spread over one manifest."""

    manifest: Path
    good_ids: frozenset[str]
    bad_uris: Counter[str]
    duplicates: int

    @property
    def submitted(self) -> int:
        return len(self.good_ids) + self.bad_uris.total() + self.duplicates


def a_load(folder: Path, *, items: int, bad: int, duplicates: int) -> Load:
    """A manifest of `items` lines over real pictures."""
    split = fashion_mnist.load("test", fashion_mnist.SHIPPED)
    folder.mkdir()
    for name, content in _BAD.items():
        if content is not None:
            (folder / name).write_bytes(content)
    good = [f"{number:05d}" for number in range(items - bad - duplicates)]
    for number, name in enumerate(good):
        (folder / f"{name}.png").write_bytes(dataset.png(split.images[number]))
    lines = [f"{name}.png,{name}" for name in good]
    names = [list(_BAD)[number % len(_BAD)] for number in range(bad)]
    for number, name in enumerate(names):
        lines.insert(number * len(lines) // bad, f"{name},bad {number}")
    for number in range(duplicates):
        # The first of them has been listed long ago, in another chunk.
        lines.insert(len(lines) // 2 + number * len(lines) // (2 * duplicates), f"{good[number]}.png,{good[number]}")
    manifest = folder / "manifest.csv"
    manifest.write_text("uri,id\n" + "\n".join(lines), encoding="utf-8")
    return Load(manifest, frozenset(good), Counter(names), duplicates)


class Chaos:
    """One job, and a person who watches it through the gateway while its parts are killed."""

    def __init__(self, system: Fleet, client: Client, load: Load) -> None:
        self.system, self.client, self.load = system, client, load
        client.create_collection(COLLECTION)
        self.job = client.create_ingest_job(COLLECTION, ManifestSource(str(load.manifest)), request_id="chaos")
        self.seen: list[Job] = []
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def strike(self, part: Part, how: str) -> None:
        """Let the job get on by a chunk, end the part while a chunk is being worked on, start it again."""
        self._gets_on()
        until(self._at_work, "a chunk is being worked on", timeout_s=60, poll_s=0.002)
        part.kill() if how == "SIGKILL" else part.stop()
        assert not self._seen().state.ended, f"{type(part).__name__} was ended too late to show anything"
        part.start()

    def ended(self) -> Job:
        """The job as the person who watched it saw it end."""
        self._watching.join(_ENDS_WITHIN_S)
        assert self._seen().state.ended, f"the job has not ended: {self._seen()}\n{self.system.log()}"
        return self._seen()

    def _watch(self) -> None:
        for job in self.client.watch_job(self.job.id, patience_s=_ENDS_WITHIN_S):
            self.seen.append(job)

    def _seen(self) -> Job:
        return self.seen[-1] if self.seen else self.job

    def _gets_on(self) -> None:
        done = self._seen().chunks_done
        until(lambda: self._seen().chunks_done > done, f"a chunk is recorded\n{self.system.log()}", timeout_s=_ENDS_WITHIN_S)

    def _at_work(self) -> bool:
        with redis.Redis.from_url(f"{self.system.redis.url}/0", decode_responses=True) as ledger:
            units: dict[str, str] = ledger.hgetall(f"lookalike:job:{self.job.id}:units")
        assert not self._seen().state.ended, f"the job ended before all was done to it: {self._seen()}"
        return any(key.startswith("o:") for key in units)


def check(system: Fleet, load: Load, job: Job, client: Client) -> None:
    """The job adds up, every good picture is in every space once, every bad one is listed with a reason."""
    assert job.state is JobState.SUCCEEDED, job.error
    bad = load.bad_uris.total()
    assert (job.counts.submitted, job.counts.failed) == (load.submitted, bad)
    assert job.counts.indexed == len(load.good_ids)
    assert job.skip_reasons == {"duplicate": load.duplicates}
    failures = list(client.list_failures(job.id))
    assert Counter(Path(failure.uri).name for failure in failures) == Counter(
        {Path(uri).name: count for uri, count in load.bad_uris.items()}
    )
    reasons = {Path(failure.uri).name: failure.reason for failure in failures}
    assert reasons["missing.png"] == "SOURCE_NOT_FOUND"
    assert reasons["hostname"] == "SOURCE_FORBIDDEN"
    assert all(reasons[name].startswith("IMAGE_") for name in ("text.png", "cut.png", "empty.png"))
    connection = connect(system.milvus_uri)
    assert rows_by_space(connection) == dict.fromkeys(("histogram", "siamese"), load.good_ids)
    connection.close()


def rows_by_space(connection: Connection) -> dict[str, frozenset[str]]:
    """Ids by space; asserts that no id is there twice."""
    collection, store = MilvusCatalogue(connection).get(COLLECTION, fresh=True), MilvusVectors(connection)
    ids: list[str] = []
    while page := store.page(collection, after_id=ids[-1] if ids else "", limit=1000, timeout_s=60):
        ids += [image.id for image in page]
    everywhere = store.get_everywhere(collection, ids, timeout_s=60)
    found = {}
    for number, space in enumerate(collection.spaces):
        found[space.name] = frozenset(id_ for id_, rows in everywhere.items() if len(rows) > number)
        counted = connection.call(
            "query",
            collection.physical(space.name),
            deadline=Deadline.after(60),
            filter="",
            output_fields=["count(*)"],
            consistency_level="Strong",
        )
        assert counted[0]["count(*)"] == len(found[space.name]), f"{space.name} holds an id twice"
    return found


@pytest.mark.milvus
def test_a_job_outlives_every_part_that_works_on_it(milvus_uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    # Two chunks at a time, so that eight are not all done before the gateway's turn.
    one_by_one = {"INDEXER_CONCURRENCY": "1"}
    with fleet(folder, milvus_uri, workers=2, worker_settings=one_by_one) as system, system.client() as client:
        load = a_load(folder / "pictures", items=2000, bad=25, duplicates=50)
        chaos = Chaos(system, client, load)
        # The gateway last: the job goes on while it starts again.
        for part in (system.workers[0], system.redis, system.embedder, system.gateway):
            chaos.strike(part, "SIGKILL")
        check(system, load, chaos.ended(), client)
        client.delete_collection(COLLECTION)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("workers", "how"), [(1, "SIGKILL"), (2, "SIGKILL"), (2, "SIGTERM")])
def test_a_job_outlives_everything(workers: int, how: str, tmp_path: Path) -> None:
    if reason := why_no_milvus():
        pytest.skip(reason)
    folder = tmp_path / "fleet"
    (tmp_path / "milvus").mkdir()
    milvus = RealServer(tmp_path / "milvus")
    milvus.start()
    try:
        with fleet(folder, milvus.uri, workers=workers, models=(SHIPPED / "fashion",)) as system, system.client() as client:
            load = a_load(folder / "pictures", items=5000, bad=50, duplicates=100)
            chaos = Chaos(system, client, load)
            worker = system.workers[0]
            for part in (worker, worker, worker, system.redis, system.embedder, milvus, system.gateway):
                chaos.strike(part, how)
            check(system, load, chaos.ended(), client)
    finally:
        milvus.kill()
