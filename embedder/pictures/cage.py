"""The cage: a few processes with limits, in which pictures are decoded that are not of the quick and safe kinds.

Owns which picture is decoded next, in how many processes, and what a crash or a passed limit means: the end of one process and
a `BadImage` for one picture. Called by `embedder.serving.service`; the work of a process is in `caged`.

The order is by time of arrival and expected work together, so that a small picture never waits for all large ones that came
before it, nor a large one for ever. Of each lane the cheap and the costly pictures have a process each that no others take, so
that a cheap picture never waits for costly ones. A picture is cheap as long as its header says so and its processor time
agrees: after a first allowance it counts as costly. Its process goes on with it where another costly picture may run, and is
ended otherwise; the picture then waits among the costly ones and is decoded anew. Of each lane one large picture is decoded at
a time, and the large ones of both together stay within the bound on memory. Nothing waits here longer than its caller does.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter as Counts
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

from embedder.pictures.caged_process import FOREIGN_SIGNALS, TIME_SIGNALS, CagedProcess, Ended, Overlong
from embedder.pictures.headers.header import Header
from embedder.pictures.headers.limits import QUICK_MEMORY_BYTES
from embedder.pictures.reading import REPAIRS
from embedder.pictures.tasks import BadAnswer, Result, Task, as_json
from embedder.pictures.waiting import Lane, Waiting
from lookalike.errors import BadImage, LookalikeError, Unavailable
from lookalike.names import MAX_IMAGE_BYTES
from lookalike.runtime.telemetry import logged_defect

CAGED_IMAGES = Counter(
    "lookalike_embedder_caged_images_total",
    "Pictures that a caged process decoded, by outcome: decoded, put_off (to the costly ones), or why not.",
    ("outcome",),
)
CAGED_SECONDS = Histogram(
    "lookalike_embedder_caged_seconds",
    "Time to decode one picture in a caged process, without what it waited for one.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CAGED_WAITING = Gauge("lookalike_embedder_caged_waiting_images", "Pictures that wait for a caged process.", ("lane",))
CAGED_PROCESSES = Counter("lookalike_embedder_caged_processes_total", "Caged processes that were started.")

LEAST_PROCESSES = 4
"""Least processes: two of each lane, for its cheap and for its costly pictures."""
CHEAP_WORK = 15_000_000
"""Work of a cheap picture at most: a TIFF of 1280 x 960, some 40 ms. More than `QUICK_MEMORY_BYTES` is costly too."""
_FIRST_S, _FIRST_SECONDS_A_WORK = 0.05, 30e-9
"""Processor time after which a cheap picture counts as costly, for any and for each unit of its work. Good GIFs, TIFFs, BMPs
and animations of 240 x 200 to 1280 x 960 took 1 ms and 12 ns a unit at most on a core of 2024; those of 60 x 40 took 2 ms."""
_MOST_COSTLY = 2
"""Costly pictures that are decoded together, where fewer than twice as many processes may run; otherwise half of those."""
LARGE_WORK = 100_000_000
"""Work of a large picture; one that takes more than `QUICK_MEMORY_BYTES` is large as well."""
_SPARE_BYTES = 64_000_000
"""What a picture may take beyond its header's estimate and its own bytes: metadata, and the process's own growth."""
_LEAST_S, _SECONDS_A_WORK = 0.5, 60e-9
"""Processor time for any picture, and for each unit of its work: six times what a machine of 2024 takes."""
_WALL = 20
"""Multiple of the processor time that a busy machine may take; after it, and ten seconds, a process that sleeps is ended."""
_LEAST_WALL_S = 10.0
_AHEAD_S_A_WORK = 100e-9
"""A picture waits for those that came up to ten times its own time later and need less."""
_BULK_AHEAD_S = 5.0
"""Interactive pictures go before bulk ones that came so much earlier."""
_PICTURES_A_PROCESS = 1000
"""Then it is replaced: nothing that it may have gathered, or that took it over, lives for ever."""
_CLOSE_S = 5.0
_REASON = re.compile(r"IMAGE_[A-Z_]{1,40}")


@dataclass(eq=False, slots=True)
class _Work:
    task: Task[Any]
    data: bytes
    header: Header
    lane: Lane
    waiting: Waiting
    costly: bool
    future: Future[Any] = field(default_factory=Future)
    submitted_s: float = field(default_factory=time.monotonic)

    def begin(self) -> bool:
        """False where the caller has taken it back. A picture that outstayed its place begins twice."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    @property
    def due_s(self) -> float:
        behind_s = _BULK_AHEAD_S if self.lane is Lane.BULK else 0.0
        return self.submitted_s + behind_s + self.header.work * _AHEAD_S_A_WORK

    @property
    def large(self) -> bool:
        return self.header.work > LARGE_WORK or self.header.memory_bytes > QUICK_MEMORY_BYTES

    @property
    def memory_bytes(self) -> int:
        return allowance_bytes(self.header.memory_bytes, len(self.data))

    @property
    def first_s(self) -> float:
        return _FIRST_S + _FIRST_SECONDS_A_WORK * self.header.work


class _Outstayed(Exception):
    """A picture that seemed cheap is costly, and no costly picture may run beside those that do."""


def _is_costly(header: Header) -> bool:
    return header.work > CHEAP_WORK or header.memory_bytes > QUICK_MEMORY_BYTES


def allowance_bytes(memory_bytes: int, data_bytes: int) -> int:
    """What a caged process may take for a picture whose header says `memory_bytes`."""
    return memory_bytes + data_bytes + _SPARE_BYTES


def largest_bytes(memory_bytes: int) -> int:
    """What a picture's header may say where all may take `memory_bytes` together."""
    return memory_bytes - allowance_bytes(0, MAX_IMAGE_BYTES)


class Cage:
    """`processes` caged processes at most, started when they are first needed, until `close`. Thread-safe.

    `memory_bytes`: of large pictures together. `max_pixels`: as the decoder's. `processor_s`: of a picture at most.
    `start` makes a process. `repaired` is called with each repair of a picture, as the decoder's.
    """

    def __init__(
        self,
        *,
        processes: int,
        memory_bytes: int,
        max_pixels: int,
        processor_s: float,
        start: Callable[[], CagedProcess] = CagedProcess,
        repaired: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._start, self._repaired = start, repaired
        self._most = max(LEAST_PROCESSES, processes)
        self._memory_bytes, self._max_pixels, self._processor_s = memory_bytes, max_pixels, processor_s
        self._changed = threading.Condition()
        self._waiting: list[_Work] = []
        self._running: list[_Work] = []
        self._idle: list[CagedProcess] = []
        self._closing = False
        self._logged = False
        self._threads = [threading.Thread(target=self._serve, name=f"cage-{n}", daemon=True) for n in range(self._most)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task[Result], data: bytes, header: Header, lane: Lane, waiting: Waiting) -> Future[Result]:
        """The result of `task`, or a `LookalikeError`: `BadImage` for the picture; `DeadlineExceeded` and `Cancelled` where the
        caller waits no longer, and `Unavailable`, say nothing of it. The caller's place in the batcher's queue bounds what can
        wait here."""
        work = _Work(task, data, header, lane, waiting, _is_costly(header))
        with self._changed:
            if self._closing:
                raise Unavailable("embedder", "it is stopping")
            self._waiting.append(work)
            CAGED_WAITING.labels(lane.value).inc()
            self._changed.notify()
        return work.future

    def close(self) -> None:
        """End the processes, whatever they do; what waits fails with `Unavailable`."""
        with self._changed:
            self._closing = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for work in left:
            CAGED_WAITING.labels(work.lane.value).dec()
            _fail(work, Unavailable("embedder", "it is stopping"))
        for thread in self._threads:
            thread.join(_CLOSE_S)
        for process in self._idle:
            process.close()
        self._idle.clear()

    def _serve(self) -> None:
        while (work := self._take()) is not None:
            outstayed = False
            if work.begin():
                try:
                    work.future.set_result(self._result(work))
                except _Outstayed:
                    outstayed = True
                except LookalikeError as error:
                    work.future.set_exception(error)
                except Exception as error:  # noqa: BLE001 - a worker's edge: the thread must live on
                    said = "decoding failed; the log has it"
                    work.future.set_exception(logged_defect(error, "caged decoding failed", said))
            with self._changed:
                self._running.remove(work)
                if outstayed:
                    self._waits_again(work)
                self._changed.notify_all()
            del work

    def _waits_again(self, work: _Work) -> None:
        work.costly = True
        if self._closing:
            _fail(work, Unavailable("embedder", "it is stopping"))
            return
        self._waiting.append(work)
        CAGED_WAITING.labels(work.lane.value).inc()

    def _take(self) -> _Work | None:
        """Wait for a picture that may be decoded now; None once closed."""
        with self._changed:
            while not self._closing:
                self._drop_abandoned()
                work = min((one for one in self._waiting if self._may_run(one)), key=lambda one: one.due_s, default=None)
                if work is not None:
                    self._no_longer_waits(work)
                    self._running.append(work)
                    return work
                self._changed.wait()
            return None

    def _drop_abandoned(self) -> None:
        for work in list(self._waiting):
            if work.future.cancelled():
                self._no_longer_waits(work)
                continue
            try:
                work.waiting.check()
            except LookalikeError as error:
                self._no_longer_waits(work)
                _fail(work, error)

    def _no_longer_waits(self, work: _Work) -> None:
        self._waiting.remove(work)
        CAGED_WAITING.labels(work.lane.value).dec()

    def _may_run(self, work: _Work) -> bool:
        if not self._has_place(work.lane, costly=work.costly):
            return False
        if not work.large:
            return True
        large = [one for one in self._running if one.large]
        taken_bytes = sum(one.memory_bytes for one in large)
        beside = any(one.lane is work.lane for one in large)
        return not beside and (not large or taken_bytes + work.memory_bytes <= self._memory_bytes)

    def _has_place(self, lane: Lane, *, costly: bool, instead_of: _Work | None = None) -> bool:
        """Whether another picture of a kind may run, with a process left for each kind of which none does."""
        running = Counts((one.lane, one.costly) for one in self._running if one is not instead_of)
        running[lane, costly] += 1
        if costly and sum(running[each, True] for each in Lane) > max(_MOST_COSTLY, self._most // 2):
            return False
        return sum(max(1, running[kind]) for kind in product(Lane, (False, True))) <= self._most

    def _goes_on(self, work: _Work, used_s: float) -> None:
        """Count `work` as costly after its first allowance. Raises `_Outstayed` where it then may not run."""
        if work.costly or used_s <= work.first_s:
            return
        with self._changed:
            if not self._has_place(work.lane, costly=True, instead_of=work):
                raise _Outstayed
            work.costly = True
            self._changed.notify_all()

    def _result(self, work: _Work) -> Any:
        begun_s = time.perf_counter()
        outcome = "decoded"
        try:
            return self._asked(work, last=False)
        except _Outstayed:
            outcome = "put_off"
            raise
        except LookalikeError as error:
            outcome = error.reason
            raise
        finally:
            CAGED_SECONDS.observe(time.perf_counter() - begun_s)
            CAGED_IMAGES.labels(outcome).inc()

    def _asked(self, work: _Work, *, last: bool) -> Any:
        processor_s = min(self._processor_s, _LEAST_S + _SECONDS_A_WORK * work.header.work)
        process = self._process()
        before_s = process.processor_s

        def gone() -> bool:
            self._goes_on(work, process.processor_s - before_s)
            return self._closing or _nobody_waits(work.waiting)

        try:
            head, content = process.ask(
                {
                    "task": as_json(work.task),
                    "max_pixels": self._max_pixels,
                    "memory_bytes": work.memory_bytes,
                    "processor_s": processor_s,
                },
                work.data,
                most_bytes=work.task.most_bytes,
                longest_s=max(_LEAST_WALL_S, _WALL * processor_s),
                gone=gone,
            )
            result = _result_of(work.task, head, content, self._repaired)
        except Overlong:
            work.waiting.check()
            if self._closing:
                raise Unavailable("embedder", "it is stopping") from None
            raise _too_slow(processor_s) from None
        except Ended as error:
            if error.signal_number in TIME_SIGNALS:
                raise _too_slow(processor_s) from None
            if error.signal_number in FOREIGN_SIGNALS and not last:
                return self._asked(work, last=True)
            raise _crashed(_name(error.signal_number), work) from None
        except (ValueError, BadAnswer, KeyError, TypeError):
            process.close()
            raise _crashed("its answer made no sense", work) from None
        except BadImage:
            self._give_back(process)
            raise
        self._give_back(process)
        return result

    def _process(self) -> CagedProcess:
        with self._changed:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.close()
        try:
            process = self._start()
        except OSError as error:
            raise Unavailable("embedder", f"a process to decode in does not start ({error})") from error
        CAGED_PROCESSES.inc()
        if not self._logged:
            self._logged = True
            structlog.get_logger().info("caged", system_calls="filtered" if process.filtered else "not filtered")
        return process

    def _give_back(self, process: CagedProcess) -> None:
        if process.asked >= _PICTURES_A_PROCESS:
            process.close()
            return
        with self._changed:
            self._idle.append(process)


def _fail(work: _Work, error: LookalikeError) -> None:
    if work.begin():
        work.future.set_exception(error)


def _nobody_waits(waiting: Waiting) -> bool:
    return waiting.left_s <= 0 or waiting.gone()


def _result_of(task: Task[Any], head: dict[str, Any], content: bytes, repaired: Callable[[str], None]) -> Any:
    """Raises `BadImage` as the caged process says, and `BadAnswer`, `KeyError`, `TypeError` where it says what it may not."""
    if "reason" not in head:
        result = task.unpacked(head["shapes"], content)
        for kind in REPAIRS.intersection(head["repaired"]):
            repaired(kind)
        return result
    reason, problem = str(head["reason"]), str(head["problem"])
    if not _REASON.fullmatch(reason) or not problem.isprintable():
        raise BadAnswer("a reason that is none")
    raise BadImage(problem, reason=reason)


def _too_slow(processor_s: float) -> BadImage:
    return BadImage(
        f"takes longer to decode than its header accounts for ({processor_s:.1f} s of processor time)",
        reason="IMAGE_TOO_COSTLY",
    )


def _crashed(how: str, work: _Work) -> BadImage:
    header = work.header
    structlog.get_logger().warning(
        "decoder crashed", how=how, format=header.format, variant=header.variant, size_bytes=len(work.data)
    )
    return BadImage(f"crashed its decoder ({how})", reason="IMAGE_CRASHED_DECODER")


def _name(signal_number: int) -> str:
    try:
        return signal.Signals(signal_number).name
    except ValueError:
        return "it ended"
