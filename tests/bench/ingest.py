"""The row of bulk ingest: jobs as in production, beside the embedder alone with the same pictures, and what each process costs.

Jobs fill the collection that is searched later, from PNG files in place; before each comes a time of the embedder alone: 32
pictures a call, both spaces, bulk lane. Neither begins before what is there has been indexed. What Celery costs is measured by
sending the worker messages about chunks that are done already.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import redis

from embedder.pictures.waiting import Lane
from lookalike.client import JobState, ManifestSource
from lookalike.jobs.queue import TaskQueue
from lookalike.names import MAX_IMAGES_PER_CALL
from tests.bench.embedding import FULL_CALLERS, Load, calls_of
from tests.bench.inputs import fashion_gallery, write_fashion
from tests.bench.rows import Findings, interleaved
from tests.bench.scales import Scale
from tests.bench.system import FASHION, TIMEOUT_S, System
from tests.servers.processes import until

_ALONE_IMAGES = 4096
_ALONE_WINDOWS = 3
"""A job takes far longer than a window: the embedder alone is given more than one too."""
_MESSAGES = 500
_FIRST = 1000
"""Memory is compared from here on: by then every part has touched all it needs for any job."""


@dataclass
class Usage:
    """One process: seconds of CPU during jobs, and resident MiB when 1,000 items were done and at the end."""

    process: psutil.Process
    cpu_s: float = 0.0
    early_mib: float = 0.0
    late_mib: float = 0.0


def measure(system: System, scale: Scale, findings: Findings) -> list[str]:
    """Fill the collection; the ids in it."""
    _say(f"  writing {scale.vectors:,} pictures")
    manifests, said = write_jobs(system.fleet.folder, scale)
    findings.note(f"{scale.vectors:,} pictures are ingested in {len(manifests)} jobs: {said}")
    sample = sorted((system.fleet.folder / "pictures").rglob("*.png"))[:_ALONE_IMAGES]
    alone = Load(calls_of([path.read_bytes() for path in sample], MAX_IMAGES_PER_CALL), FULL_CALLERS, Lane.BULK, histogram=True)
    longer = replace(scale, window_s=_ALONE_WINDOWS * scale.window_s)
    alone.over_grpc(system.fleet.embedder.target, scale)
    system.client.create_collection(FASHION, model=FASHION, timeout_s=TIMEOUT_S)
    usage, jobs, settled_s = watched(system), iter(manifests), list[float]()

    def embedder_alone() -> float:
        settled_s.append(settle(system))
        return alone.over_grpc(system.fleet.embedder.target, longer)

    limit, ours = interleaved(
        embedder_alone,
        lambda: ingest(system, next(jobs), usage),
        len(manifests),
        warm_up=False,
    )
    settled_s.append(settle(system))
    findings.add("bulk_ingest", ours, limit)
    findings.note(f"ingest: the index was in use {settled_s[-1]:.0f} s after the end of the last job")
    note_costs(system, usage, scale.vectors, findings)
    return [picture_id(number) for number in range(scale.vectors)]


def settle(system: System) -> float:
    """Wait until what the last job wrote is indexed, which takes Milvus as much of the machine as writing does: it would bend
    whatever is measured next. Seconds that it took."""
    begun_s = time.perf_counter()
    system.until_indexed(FASHION)
    return time.perf_counter() - begun_s


def write_jobs(folder: Path, scale: Scale) -> tuple[list[Path], str]:
    """PNG files and a manifest for each job; and what the pictures are."""
    pictures, said = fashion_gallery(scale.vectors)
    ends = [scale.vectors * (job + 1) // scale.jobs for job in range(scale.jobs)]
    manifests = []
    for start, end in itertools.pairwise([0, *ends]):
        write_fashion(folder / "pictures", pictures, end - start, start)
        lines = (f"pictures/{number // 1000:04d}/{number:07d}.png,{picture_id(number)}\n" for number in range(start, end))
        manifests.append(folder / f"job-{start:07d}.csv")
        manifests[-1].write_text("uri,id\n" + "".join(lines), encoding="utf-8")
    return manifests, said


def picture_id(number: int) -> str:
    return f"fashion-{number:07d}"


def ingest(system: System, manifest: Path, usage: dict[str, Usage]) -> float:
    """Run a job to its end; images a second from its creation to its end."""
    before = {name: cpu_s([one.process]) for name, one in usage.items()}
    made = system.client.create_ingest_job(FASHION, ManifestSource(str(manifest)))
    for job in system.client.watch_job(made.id, patience_s=120):
        for one in usage.values():
            one.late_mib = one.process.memory_info().rss / 2**20
            if job.counts.done >= _FIRST and not one.early_mib:
                one.early_mib = one.late_mib
    for name, one in usage.items():
        one.cpu_s += cpu_s([one.process]) - before[name]
    assert job.state is JobState.SUCCEEDED, job
    assert job.counts.indexed == job.counts.submitted, job
    assert job.end_time is not None
    assert job.create_time is not None
    rate = job.counts.indexed / (job.end_time - job.create_time).total_seconds()
    _say(f"  {job.counts.indexed:,} pictures, {rate:.0f} images/s")
    return rate


def watched(system: System) -> dict[str, Usage]:
    (worker,) = system.fleet.workers
    processes = {"embedder": system.fleet.embedder.process, "indexer": worker.process, "gateway": system.fleet.gateway.process}
    usage = {name: Usage(psutil.Process(process.pid)) for name, process in processes.items() if process is not None}
    return usage | {"redis": Usage(psutil.Process(system.fleet.redis.pid)), "milvus": Usage(system.milvus_process)}


def note_costs(system: System, usage: dict[str, Usage], images: int, findings: Findings) -> None:
    message_ms, messages = message_cost_ms(system), system.client.list_jobs()
    sent = sum(job.chunks_total + 1 for job in messages)
    celery_s = sent * message_ms / 1000
    share = (usage["redis"].cpu_s + celery_s) / sum(one.cpu_s for one in usage.values())
    costs = ", ".join(f"{name} {1000 * one.cpu_s / images:.2f}" for name, one in usage.items())
    memory = ", ".join(f"{name} {one.early_mib:.0f}/{one.late_mib:.0f}" for name, one in usage.items())
    findings.note(f"ingest: CPU milliseconds an image: {costs}")
    findings.note(f"ingest: Celery and Redis take {share:.1%} of the CPU ({message_ms:.2f} ms a message)")
    findings.note(f"ingest: resident MiB after {_FIRST:,} pictures / at the end: {memory}")


def message_cost_ms(system: System) -> float:
    """CPU that worker and Redis spend on one message about a chunk that needs nothing, in milliseconds."""
    queue = TaskQueue(f"{system.fleet.redis.url}/0")
    (worker,) = system.fleet.workers
    assert worker.process is not None
    processes = [psutil.Process(worker.process.pid), psutil.Process(system.fleet.redis.pid)]
    idle = cpu_s(processes)
    time.sleep(2.0)
    idle_per_s = (cpu_s(processes) - idle) / 2.0
    before, started_s = cpu_s(processes), time.perf_counter()
    for _ in range(_MESSAGES):
        queue.send_chunk("0" * 16, 0)
    with redis.Redis.from_url(f"{system.fleet.redis.url}/0") as client:
        until(lambda: not _queued(client), "every message has been taken", timeout_s=120, poll_s=0.1)
    spent_s = cpu_s(processes) - before - idle_per_s * (time.perf_counter() - started_s)
    queue.close()
    return max(0.0, spent_s) * 1000 / _MESSAGES


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def _queued(client: redis.Redis) -> int:
    names = [name for name in client.scan_iter("lookalike:celery:lookalike*") if client.type(name) == b"list"]
    return sum(client.llen(name) for name in names) + int(client.hlen("lookalike:celery:unacked"))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
