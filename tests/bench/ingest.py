"""How fast a bulk job is beside the embedder alone, what each process costs, and whether anything grows with the job.

    python -m tests.bench.ingest --items 100000

Everything runs as in production, as separate processes on this machine: redis-server (append-only file), Milvus 2.3.5 (or
milvus-lite), the embedder, one worker, the gateway. Synthetic 28 x 28 PNG files are ingested in place with the model `fashion`.
Rounds of the embedder alone (the same files, 32 a call, bulk lane) come before and after the job, on the same cores: what is
compared is their median. What Celery costs is measured by sending the worker messages about chunks that are done already, and
multiplying what one of them costs by the number of messages of the job.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
import redis
from PIL import Image

from lookalike.client import Client, FolderSource, Job, JobState
from lookalike.jobs.queue import TaskQueue
from lookalike.names import MAX_IMAGES_PER_CALL
from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as embedder_pb2
from lookalike.v1 import embedder_service_pb2_grpc as embedder_grpc
from tests.servers.fleet import Fleet, fleet
from tests.servers.milvus import LiteServer, RealServer
from tests.servers.processes import free_port, until

COLLECTION = "bench"
_ALONE_IMAGES = 4096
_CALLS_IN_FLIGHT = 4
"""As many as a worker with its default settings keeps under way: two chunks, two calls each."""
_MESSAGES = 2000
_FIRST = 1000
"""Memory is compared from here on: by then every part has touched all it needs for any job."""


@dataclass
class Usage:
    """One process: seconds of CPU during the job, and resident MiB when 1,000 items were done and at the end."""

    cpu_s: float = 0.0
    rss_early_mib: float = 0.0
    rss_late_mib: float = 0.0


@dataclass
class Result:
    """Figures of one run; rates in images per second."""

    items: int
    server: str
    alone: list[float] = field(default_factory=list)
    ingest: float = 0.0
    ratio: float = 0.0
    celery_redis_share: float = 0.0
    celery_ms_per_message: float = 0.0
    usage: dict[str, Usage] = field(default_factory=dict)


def main() -> int:
    arguments = _arguments()
    result = Result(arguments.items, arguments.server)
    with tempfile.TemporaryDirectory(prefix="lookalike-bench-") as name, _milvus(arguments.server, Path(name)) as (uri, server):
        folder = Path(name) / "fleet"
        with fleet(folder, uri) as system, system.client() as client:
            _say(f"writing {arguments.items:,} pictures")
            write_pictures(folder / "pictures", arguments.items)
            sample = [path.read_bytes() for path in sorted((folder / "pictures").rglob("*.png"))[:_ALONE_IMAGES]]
            embed_alone(system.embedder.target, sample[:512])
            result.alone = [embed_alone(system.embedder.target, sample) for _ in range(arguments.rounds)]
            result.celery_ms_per_message = message_cost_ms(system)
            job = ingest(system, client, folder / "pictures", server, result)
            result.alone += [embed_alone(system.embedder.target, sample) for _ in range(arguments.rounds)]
            summarise(result, job)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    print(text(result))
    return 0


def write_pictures(folder: Path, count: int) -> None:
    """`count` different PNG files of 28 x 28 grey noise over a gradient, 1,000 a folder."""
    rng = np.random.default_rng(1)
    gradient = np.linspace(0, 200, 28, dtype=np.uint8)
    for number in range(count):
        place = folder / f"{number // 1000:03d}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        stream = io.BytesIO()
        Image.fromarray(gradient + rng.integers(0, 55, (28, 28), dtype=np.uint8)).save(stream, "PNG", compress_level=1)
        (place / f"{number:07d}.png").write_bytes(stream.getvalue())


def embed_alone(target: str, images: Sequence[bytes]) -> float:
    """Images per second through the embedder, 32 a call, `_CALLS_IN_FLIGHT` calls at a time."""
    calls = [images[at : at + MAX_IMAGES_PER_CALL] for at in range(0, len(images), MAX_IMAGES_PER_CALL)]
    with open_channel(target) as channel, ThreadPoolExecutor(_CALLS_IN_FLIGHT) as threads:
        stub = embedder_grpc.EmbedderServiceStub(channel)

        def call(batch: Sequence[bytes]) -> int:
            request = embedder_pb2.EmbedRequest(model="fashion", images=batch, lane=embedder_pb2.LANE_BULK)
            return len(stub.Embed(request, timeout=60).results)

        started_s = time.perf_counter()
        done = sum(threads.map(call, calls))
        return done / (time.perf_counter() - started_s)


def message_cost_ms(system: Fleet) -> float:
    """CPU that worker and Redis spend on one message about a chunk that needs nothing, in milliseconds."""
    queue = TaskQueue(f"{system.redis.url}/0")
    (worker,) = system.workers
    assert worker.process is not None
    watched = [psutil.Process(worker.process.pid), psutil.Process(system.redis.pid)]
    idle = _cpu_s(watched)
    time.sleep(2.0)
    idle_per_s = (_cpu_s(watched) - idle) / 2.0
    before, started_s = _cpu_s(watched), time.perf_counter()
    for _ in range(_MESSAGES):
        queue.send_chunk("0" * 16, 0)
    with redis.Redis.from_url(f"{system.redis.url}/0") as client:
        until(lambda: not _queued(client), "every message has been taken", timeout_s=120, poll_s=0.1)
    spent_s = _cpu_s(watched) - before - idle_per_s * (time.perf_counter() - started_s)
    queue.close()
    return max(0.0, spent_s) * 1000 / _MESSAGES


def ingest(system: Fleet, client: Client, pictures: Path, server: psutil.Process, result: Result) -> Job:
    """Run the job to its end; fills `result.usage`."""
    (worker,) = system.workers
    processes = {
        "embedder": system.embedder.process,
        "indexer": worker.process,
        "gateway": system.gateway.process,
    }
    watched = {name: psutil.Process(process.pid) for name, process in processes.items() if process is not None}
    watched |= {"redis": psutil.Process(system.redis.pid), "milvus": server}
    client.create_collection(COLLECTION, model="fashion")
    before = {name: _cpu_s([process]) for name, process in watched.items()}
    usage = {name: Usage() for name in watched}
    made = client.create_ingest_job(COLLECTION, FolderSource(str(pictures)))
    shown_s = time.monotonic()
    for job in client.watch_job(made.id, patience_s=120):
        early = job.counts.done < _FIRST or usage["redis"].rss_early_mib == 0
        for name, process in watched.items():
            mib = process.memory_info().rss / 2**20
            usage[name].rss_late_mib = mib
            if early:
                usage[name].rss_early_mib = mib
        if time.monotonic() - shown_s > 15:
            shown_s = time.monotonic()
            _say(f"{job.counts.done:,} of {job.counts.submitted:,}")
    for name, process in watched.items():
        usage[name].cpu_s = _cpu_s([process]) - before[name]
    result.usage = usage
    assert job.state is JobState.SUCCEEDED, job
    assert job.counts.indexed == job.counts.submitted, job
    return job


def summarise(result: Result, job: Job) -> None:
    assert job.ended_at is not None
    assert job.created_at is not None
    result.ingest = job.counts.indexed / (job.ended_at - job.created_at).total_seconds()
    result.ratio = result.ingest / statistics.median(result.alone)
    messages = job.chunks_total + 1
    costs_s = result.usage["redis"].cpu_s + messages * result.celery_ms_per_message / 1000
    result.celery_redis_share = costs_s / sum(one.cpu_s for one in result.usage.values())


def text(result: Result) -> str:
    alone = statistics.median(result.alone)
    lines = [
        f"{result.items:,} pictures, {result.server}",
        f"  embedder alone  {alone:8.1f} images/s  (rounds: {', '.join(f'{rate:.0f}' for rate in result.alone)})",
        f"  ingest          {result.ingest:8.1f} images/s  {result.ratio:.2f} of it",
        f"  Celery and Redis {result.celery_redis_share:6.1%} of the CPU ({result.celery_ms_per_message:.2f} ms a message)",
        f"  {'':10}{'CPU s':>10}{'MiB at 1,000':>14}{'MiB at end':>12}",
    ]
    for name, one in result.usage.items():
        lines.append(f"  {name:10}{one.cpu_s:10.1f}{one.rss_early_mib:14.0f}{one.rss_late_mib:12.0f}")
    return "\n".join(lines)


@contextmanager
def _milvus(kind: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    place = folder / "milvus"
    place.mkdir()
    server = RealServer(place) if kind == "milvus" else LiteServer(place, free_port())
    server.start()
    assert server.process is not None
    try:
        yield server.uri, psutil.Process(server.process.pid)
    finally:
        server.process.kill()
        server.process.wait(10)


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def _queued(client: redis.Redis) -> int:
    names = [name for name in client.scan_iter("lookalike:celery:lookalike*") if client.type(name) == b"list"]
    return sum(client.llen(name) for name in names) + int(client.hlen("lookalike:celery:unacked"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000, help="pictures to ingest")
    parser.add_argument("--server", choices=("milvus", "milvus-lite"), default="milvus")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the embedder alone, before the job and after it")
    parser.add_argument("--out", type=Path, default=Path("build/ingest.json"), help="where the figures go as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
