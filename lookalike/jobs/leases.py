"""Leases with heartbeats, by which a worker holds a unit of work, and outcomes, which are recorded exactly once.

The indexer calls it. A *unit* of work is the planning of a job ("plan"), one of its chunks (its number) or, in jobs that have a
last step after these, "finish". The holder of a unit's lease may record its outcome. A holder whose lease ran out, and whose
unit went to another worker, can no longer change anything.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from lookalike.errors import LookalikeError
from lookalike.jobs.ledger import SEND_GRACE_S, Ledger
from lookalike.records.job import SKIPPED_DUPLICATE
from lookalike.records.job_state import JobState

PLAN = "plan"
FINISH = "finish"


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Times in seconds. The unit of a dead worker waits for `lease_s`; `heartbeat_s` is well below it."""

    lease_s: float = 15.0
    heartbeat_s: float = 4.0
    send_grace_s: float = SEND_GRACE_S
    retry_base_s: float = 1.0
    """First wait after a transient failure. It doubles each time, up to `retry_cap_s`, less a random part of up to a half."""
    retry_cap_s: float = 30.0
    window_chunks: int = 32
    """Bounds the chunks of a job that are queued or worked on at a time."""
    window_total_chunks: int = 256
    """Bounds the same chunks of all jobs together, shared evenly; but each job may always have one."""


@dataclass(slots=True)
class Done:
    """The number of a chunk's items that have their vectors. The working thread raises it; the heartbeat reports it."""

    items: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on one unit. `attempt`, from 1, counts the workers that began the unit and did not give it back."""

    job_id: str
    unit: str
    owner: str
    attempt: int
    done: Done = field(default_factory=Done, compare=False)
    lost: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set when the lease is known to have gone to another worker, or can no longer be renewed."""

    @property
    def chunk(self) -> int:
        return int(self.unit)


@dataclass(frozen=True, slots=True)
class ChunkCounts:
    """The outcomes of a chunk's items."""

    indexed: int
    failed: int
    skipped: Mapping[str, int]
    """Skipped items by reason."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """The number of all items."""
        return self.indexed + self.failed + sum(self.skipped.values())


@dataclass(frozen=True, slots=True)
class Due:
    """The work for a job now: units to send, again or for the first time, and whether the job can be closed."""

    units: tuple[str, ...]
    complete: bool


class Leases:
    """The working side of the ledger. Thread-safe. Every method raises `Unavailable` where Redis does not answer."""

    def __init__(self, ledger: Ledger, settings: LeaseSettings) -> None:
        self._redis = ledger.connection
        self._retention_ms = ledger.retention_ms
        self.settings = settings

    def take(self, job_id: str, unit: str) -> Lease | None:
        """The lease of a unit; None where the unit is done, no longer wanted, or held by another worker."""
        owner = secrets.token_hex(8)
        attempt = int(self._redis.run("lease", job_id, unit, owner, _ms(self.settings.lease_s)))
        return Lease(job_id, unit, owner, attempt) if attempt > 0 else None

    @contextmanager
    def kept(self, lease: Lease) -> Iterator[None]:
        """Renew `lease` from a thread while the block runs."""
        done = threading.Event()
        thread = threading.Thread(target=self._beat, args=(lease, done), daemon=True, name=f"heartbeat-{lease.unit}")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def renew(self, lease: Lease) -> bool:
        """Prolong a lease, and report the progress of its holder; False (and `lease.lost`) where it has gone to another worker,
        or the unit is no longer wanted."""
        held = self._run("renew", lease, _ms(self.settings.lease_s), lease.done.items)
        if not held:
            lease.lost.set()
        return held

    def release(self, lease: Lease, *, counted: bool = False) -> float:
        """Give a unit back after a transient failure. Returns the seconds until it is sent again; negative where it is not.

        With `counted`, this was one of the unit's few attempts.
        """
        waits = self._redis.run("release", lease.job_id, lease.unit, lease.owner, *self._backoff(), int(counted))
        return float(waits) / 1000

    def defer(self, job_id: str, unit: str, wait_s: float) -> bool:
        """Have a unit that no worker has begun sent again after `wait_s`; False where one has, or the unit is not wanted."""
        return bool(self._redis.run("defer", job_id, unit, _ms(wait_s)))

    def give_back(self, lease: Lease) -> None:
        """Give a unit back for other workers to take at once, since this worker stops."""
        self._redis.run("release", lease.job_id, lease.unit, lease.owner, 0, 0, 0, 0)

    def planned(
        self,
        lease: Lease,
        manifest: str,
        *,
        submitted: int,
        duplicates: int,
        chunks: int,
        unidentified: int = 0,
        left_out: Mapping[str, int] = MappingProxyType({}),
    ) -> bool:
        """Record the plan of a job; False where the lease was lost or the job was cancelled meanwhile. `left_out` items count
        as skipped, by reason, as duplicates do."""
        skipped = {reason: count for reason, count in {SKIPPED_DUPLICATE: duplicates, **left_out}.items() if count}
        plan = (manifest, submitted, sum(skipped.values()), chunks, unidentified)
        pairs = [part for reason, count in sorted(skipped.items()) for part in (f"skip:{reason}", count)]
        return bool(self._redis.run("planned", lease.job_id, lease.owner, *plan, *pairs))

    def listed(self, lease: Lease, items: int) -> bool:
        """Record the number of items that the plan has found so far; False where the lease was lost."""
        return bool(self._redis.run("listed", lease.job_id, lease.owner, items))

    def record(self, lease: Lease, counts: ChunkCounts) -> bool:
        """Record the outcome of a chunk, once. Where it was recorded before, or the lease was lost, change nothing: False."""
        growth = {"indexed": counts.indexed, "failed": counts.failed, "skipped": sum(counts.skipped.values())}
        growth |= {f"skip:{reason}": count for reason, count in counts.skipped.items()}
        growth |= {f"stage:{stage}": _ms(seconds) for stage, seconds in counts.stage_seconds.items()}
        pairs = [part for name, count in sorted(growth.items()) if count for part in (name, count)]
        return self._run("record", lease, counts.items, counts.failed, *pairs)

    def begin_item(self, lease: Lease, position: int | None) -> bool:
        """Record that the holder of a chunk now works on this item alone, or on none; False where the lease was lost."""
        return self._run("begin_item", lease, "" if position is None else position)

    def item_under_way(self, lease: Lease) -> int | None:
        """Position of the item that the last holder of a chunk began and did not end; None where it recorded none."""
        with self._redis.commands() as client:
            at = client.hget(f"lookalike:job:{lease.job_id}:units", f"i:{lease.unit}")
        return None if at is None else int(at)

    def note(self, lease: Lease, **fields: str) -> bool:
        """Record that a unit makes progress, with fields of its job; where the lease was lost, change nothing: False."""
        return self._run("note", lease, *_pairs(fields))

    def finished(self, lease: Lease, **fields: str) -> bool:
        """Record the end of the last unit of a job, with fields of the job, which can then end; False where the lease was
        lost."""
        return bool(self._redis.run("finished", lease.job_id, lease.owner, *_pairs(fields)))

    def hold(self, lease: Lease, why: str) -> bool:
        """Lay the last unit of a job down until a person resumes the job, or cancels it; False where the lease was lost."""
        return bool(self._redis.run("hold", lease.job_id, lease.owner, why[:1000]))

    def drop(self, lease: Lease) -> bool:
        """Remove a unit of a job for good, with its items neither indexed nor failed: the target of its writes is gone."""
        return self._run("drop", lease)

    def fail_job(self, lease: Lease, reason: str, message: str, *, last: bool = False) -> bool:
        """Fail the whole job: at once while planning, else when chunks under way are done. False: the lease was lost.

        A chunk that was begun before counts as under way, since it may be half written: it is sent again, unless this was its
        `last` attempt.
        """
        return self._run("fail", lease, reason, message[:1000], self._retention_ms, *self._backoff(), int(last))

    def due(self, job_id: str) -> Due:
        """Take the units to send now. The caller must send them; a lost unit is due again later."""
        settings = self.settings
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - not for secrecy
        complete, *units = self._redis.run(
            "due",
            job_id,
            settings.window_chunks,
            _ms(settings.send_grace_s),
            _ms(settings.retry_base_s),
            jitter,
            settings.window_total_chunks,
        )
        return Due(tuple(units), complete == "1")

    def close(self, job_id: str) -> JobState | None:
        """End a job whose work is done. Returns its final state; None where it had ended before, or has work left."""
        state = self._redis.run("close", job_id, self._retention_ms)
        return JobState[state] if state else None

    def _run(self, script: str, lease: Lease, *arguments: str | int | float) -> bool:
        """What a script of a leased unit says: whether the lease was held, and it did what it does."""
        return bool(self._redis.run(script, lease.job_id, lease.unit, lease.owner, *arguments))

    def _backoff(self) -> tuple[int, int, float]:
        """First wait and longest wait in milliseconds, and the random part of it."""
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - not for secrecy
        return _ms(self.settings.retry_base_s), _ms(self.settings.retry_cap_s), jitter

    def _beat(self, lease: Lease, done: threading.Event) -> None:
        good_until_s = time.monotonic() + self.settings.lease_s
        while not done.wait(self.settings.heartbeat_s):
            asked_s = time.monotonic()
            try:
                if not self.renew(lease):
                    return
                good_until_s = asked_s + self.settings.lease_s
            except LookalikeError:
                if time.monotonic() > good_until_s:
                    lease.lost.set()
                    return


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _pairs(fields: Mapping[str, str]) -> list[str]:
    return [part for pair in sorted(fields.items()) for part in pair]
