"""Delete means deleted, in a running system: a sweep takes the files of what was deleted, and nothing that anybody still needs.

A second worker sweeps all the while, beside that of the system. The test makes its own files old: a day has to pass otherwise.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.artifacts import Artifacts
from lookalike.client import Client, JobState, UploadItem, UploadSource
from lookalike.jobs.ledger import Ledger, connect_ledger
from tests.servers.processes import until
from tests.servers.stack import Stack
from tests.servers.worker import Worker

KEPT, GONE = "swept_kept", "swept_gone"
UNDER_WAY = 600
"""Images of a job that is paused before its end."""


def pictures(count: int, seed: int) -> list[bytes]:
    """Pictures that no other test has."""
    generator = np.random.default_rng(seed)
    return [png(generator.integers(0, 256, (28, 28), np.uint8)) for _ in range(count)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def files(root: Path, contents: Sequence[bytes]) -> set[Path]:
    """Where the original and the thumbnail of each picture lie."""
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    return {root / path(sha256) for sha256 in hashes for path in (Artifacts.original_path, Artifacts.thumbnail_path)}


def upload(client: Client, collection: str, contents: Sequence[bytes]) -> str:
    return client.upload(collection, [UploadItem(f"{n:04d}", content=content) for n, content in enumerate(contents)]).id


def ingest(client: Client, collection: str, contents: Sequence[bytes]) -> str:
    upload_id = upload(client, collection, contents)
    *_, job = client.watch_job(client.create_ingest_job(collection, UploadSource(upload_id)).id)
    assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, len(contents))
    for number in range(len(contents)):
        assert client.thumbnail(collection, f"{number:04d}")
    return upload_id


def make_old(paths: Sequence[Path]) -> None:
    then = time.time() - 2 * 86_400
    for path in paths:
        os.utime(path, (then, then))


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Ledger]:
    ledger = connect_ledger(f"redis://127.0.0.1:{stack.inside.system.ports.redis}/0")
    yield ledger
    ledger.close()


@pytest.fixture
def sweeper(stack: Stack, tmp_path: Path) -> Iterator[Worker]:
    """A worker that sweeps every half second once it is started."""
    ports, artifacts = stack.inside.system.ports, (stack.inside.data / "artifacts").as_uri()
    worker = Worker(
        f"redis://127.0.0.1:{ports.redis}/0",
        f"http://127.0.0.1:{ports.milvus}",
        f"127.0.0.1:{ports.embedder}",
        tmp_path,
        more={"ARTIFACTS_URL": artifacts, "INDEXER_SWEEP_EVERY_S": "0.5"},
    )
    yield worker
    worker.stop()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_sweep_takes_exactly_the_files_of_what_was_deleted(stack: Stack, ledger: Ledger, sweeper: Worker) -> None:
    root = stack.inside.data / "artifacts"
    kept, gone, young, working = pictures(6, 1), pictures(3, 2), pictures(1, 3), pictures(UNDER_WAY, 4)
    deleted, kept_on = kept[:2], kept[2:]
    with stack.client() as client:
        for name in (KEPT, GONE):
            client.create_collection(name, model="fashion")
        lists = {root / "uploads" / ingest(client, name, of_it) for name, of_it in ((KEPT, kept), (GONE, gone))}
        # The upload waits for a job, and the sweep for the upload: as long as it is there, sweeps follow each other.
        waiting = root / "uploads" / upload(client, KEPT, young)
        items = [UploadItem(f"later-{n:04d}", content=content) for n, content in enumerate(working)]
        job = client.create_ingest_job(KEPT, UploadSource(client.upload(KEPT, items).id))
        assert not client.pause_job(job.id).state.ended
        client.delete_images(KEPT, ["0000", "0001"])
        client.delete_collection(GONE)

        expected = files(root, [*deleted, *gone])
        left = files(root, kept_on) | {path for path in files(root, [*young, *working]) if path.exists()} | {waiting}
        assert all(path.exists() for path in expected | left | lists)
        make_old([path for path in files(root, [*kept, *gone, *working]) if path.exists()])
        make_old([path / "items.jsonl" for path in lists])
        sweeper.start()
        until(lambda: not any(path.exists() for path in expected | lists), "what was deleted is gone", timeout_s=60)
        for _ in range(2):
            swept_at_s, _ = ledger.last_sweep()
            until(partial(lambda at_s: ledger.last_sweep()[0] > at_s, swept_at_s), "another sweep has ended", timeout_s=30)
        assert [path for path in left if not path.exists()] == []
        assert not client.get_job(job.id).state.ended, "paused too late to show anything"

        for number, content in enumerate(kept_on, start=2):
            (found,) = client.search(KEPT, image=content, top_k=1).neighbours
            assert found.image.id == f"{number:04d}"
            assert client.thumbnail(KEPT, found.image.id)
        client.resume_job(job.id)
        *_, job = client.watch_job(job.id, patience_s=60)
        assert (job.state, job.counts.indexed) == (JobState.SUCCEEDED, UNDER_WAY)
        client.delete_collection(KEPT)
