"""What a job of ten million items costs before its first picture is read: memory and time of the plan, and room in Redis.

    python -m tests.bench.scale --items 10000000

The plan is the worker's own (`indexer.planning.sources`, `indexer.planning.plan`) over a CSV manifest of which 5 % of the lines
are broken, in a process of its own whose resident memory is sampled. The ledger is the real one on redis-server: the job is
planned, and every one of its chunks leased and recorded as a worker does, with 5 % of its items failed; what Redis says it uses
is compared.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psutil
import redis

from indexer.interruption import Interruption
from indexer.planning.plan import make_plan
from indexer.planning.sources import Sources
from lookalike.jobs.leases import PLAN, ChunkCounts, Lease, Leases, LeaseSettings
from lookalike.jobs.ledger import Ledger, connect_ledger
from lookalike.jobs.manifest import CHUNK_ITEMS, read_columns
from lookalike.jobs.uploads import Uploads
from lookalike.records.job import Counts, Job
from lookalike.records.job_state import JobState
from lookalike.records.source import FolderSource, ManifestSource
from lookalike.sources import Artifacts, Reader
from tests.servers.redis import RedisServer

_BROKEN_EVERY = 20
_LINES_AT_ONCE = 100_000


@dataclass
class Result:
    """Figures of one run."""

    items: int
    plan_s: float = 0.0
    plan_peak_mib: float = 0.0
    plan_start_mib: float = 0.0
    manifest_mib: float = 0.0
    broken: int = 0
    redis_mib: float = 0.0
    ledger_chunks: int = 0


def main() -> int:
    arguments = _arguments()
    result = Result(arguments.items)
    with tempfile.TemporaryDirectory(prefix="lookalike-scale-") as name:
        folder = Path(name)
        print(f"writing a manifest of {arguments.items:,} lines", file=sys.stderr, flush=True)
        write_manifest(folder / "manifest.csv", arguments.items)
        plan_apart(folder, result)
        ledger(folder, result)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    print(text(result))
    return 0


def write_manifest(path: Path, items: int) -> None:
    """`uri,id,label`; of every twenty lines one has an id that cannot be used."""
    with path.open("w", encoding="utf-8") as file:
        file.write("uri,id,label\n")
        for start in range(0, items, _LINES_AT_ONCE):
            file.writelines(
                f"shop/{n // 1000:05d}/{n:08d}.png,{'x' * 300 if n % _BROKEN_EVERY == 7 else f'sku-{n:08d}'},label {n % 97}\n"
                for n in range(start, min(items, start + _LINES_AT_ONCE))
            )


def plan_apart(folder: Path, result: Result) -> None:
    """Plan in a process of its own, and watch its memory."""
    started_s = time.perf_counter()
    command = [sys.executable, "-m", "tests.bench.scale", "--only-plan", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        watched = psutil.Process(process.pid)
        sizes: list[int] = []
        while process.poll() is None:
            try:
                sizes.append(watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.25)
        assert process.stdout is not None
        printed = json.loads(process.stdout.read())
    result.plan_s = time.perf_counter() - started_s
    result.plan_start_mib, result.plan_peak_mib = printed["start_mib"], max(sizes) / 2**20
    result.broken, result.manifest_mib = printed["broken"], printed["manifest_mib"]
    assert printed["submitted"] == result.items, printed


def plan(folder: Path) -> None:
    """The worker's plan of `folder`/manifest.csv; prints what it found as JSON."""
    start_mib = psutil.Process().memory_info().rss / 2**20
    artifacts = Artifacts((folder / "artifacts").as_uri())
    reader = Reader(artifacts, [folder])
    source = ManifestSource(str(folder / "manifest.csv"))
    lease = Lease("scale", PLAN, "bench", 1)
    interruption = Interruption(threading.Event(), lease)
    unused = cast("Any", None)
    sources = Sources(reader, Uploads(artifacts), unused, unused, unused)
    job = Job("scale", "c", source, JobState.PLANNING, Counts(), {}, 0, 0, 1, "r", "", datetime.now(UTC), None)
    made = make_plan(artifacts, job, sources.items(job, interruption), interruption)
    broken = sum(bool(reason) for (reason,) in read_columns(artifacts, made.manifest, "problem_reason"))
    size = sum(path.stat().st_size for path in (folder / "artifacts" / made.manifest).iterdir()) / 2**20
    print(json.dumps({"submitted": made.submitted, "broken": broken, "manifest_mib": size, "start_mib": start_mib}))


def ledger(folder: Path, result: Result) -> None:
    """Lease and record every chunk of a job of as many items; how much Redis grew."""
    (folder / "redis").mkdir()
    server = RedisServer(folder / "redis")
    server.start()
    try:
        with redis.Redis.from_url(f"{server.url}/0") as client:
            ledger = connect_ledger(f"{server.url}/0")
            leases = Leases(ledger, LeaseSettings())
            # Scripts and connections are there for the first job already.
            record_all(ledger, leases, 2, "warm")
            before = used_mib(client)
            result.ledger_chunks = math.ceil(result.items / CHUNK_ITEMS)
            print(f"recording {result.ledger_chunks:,} chunks", file=sys.stderr, flush=True)
            job_id = record_all(ledger, leases, result.ledger_chunks, "large", close=False)
            result.redis_mib = used_mib(client) - before
            leases.close(job_id)
            assert ledger.get(job_id).state is JobState.SUCCEEDED
            ledger.close()
    finally:
        server.kill()


def record_all(ledger: Ledger, leases: Leases, chunks: int, name: str, *, close: bool = True) -> str:
    """Make a job of `chunks` chunks and work it off; its id."""
    job, _ = ledger.create("c", "u", FolderSource("/x"), name)
    lease = leases.take(job.id, PLAN)
    assert lease is not None
    leases.planned(lease, f"jobs/{job.id}/manifest-{lease.owner}", submitted=chunks * 256, duplicates=0, chunks=chunks)
    done = 0
    while done < chunks:
        for unit in leases.due(job.id).units:
            lease = leases.take(job.id, unit)
            assert lease is not None
            seconds = {"read": 0.1, "decode": 0.2, "embed": 0.3, "write": 0.1, "wait": 0.01}
            assert leases.record(lease, ChunkCounts(240, 13, {"unchanged": 3}, seconds))
            done += 1
    if close:
        leases.close(job.id)
    return job.id


def used_mib(client: redis.Redis) -> float:
    return float(client.info("memory")["used_memory"]) / 2**20


def text(result: Result) -> str:
    return "\n".join(
        [
            f"{result.items:,} items, {result.broken:,} of them broken",
            f"  plan     {result.plan_s:8.1f} s, {result.items / result.plan_s:,.0f} items/s",
            f"           {result.plan_peak_mib:8.0f} MiB at most ({result.plan_start_mib:.0f} before it began)",
            f"  manifest {result.manifest_mib:8.0f} MiB",
            f"  Redis    {result.redis_mib:8.1f} MiB for {result.ledger_chunks:,} chunks",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000_000, help="lines of the manifest")
    parser.add_argument("--out", type=Path, default=Path("build/scale.json"), help="where the figures go as JSON")
    parser.add_argument("--only-plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_plan is not None:
        plan(arguments.only_plan)
        sys.exit(0)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
