"""Reads the pictures of a chunk ahead of the caller that takes them. Called by `pipeline`.

An item that cannot be read is a value, not an exception. A read that hangs (a network mount whose server is gone) costs its own
item its deadline and the chunk one thread.

Items that are far away are read side by side. One thread reads files of this machine in a row for as long as they come quickly:
several threads that read small files spend five times the CPU, most of it on passing Python's lock around.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from indexer.chunk.stages import Stages
from indexer.interruption import Interruption
from lookalike.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, LookalikeError, NotFound, Unavailable
from lookalike.items import Item
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGE_BYTES, MAX_IMAGES_PER_CALL
from lookalike.sources import Reader
from lookalike.sources.web import SOURCE_TIMEOUT, SOURCE_UNAVAILABLE

_ITEM_ERRORS = (NotFound, FailedPrecondition, InvalidArgument)
"""Errors of a read that are about the item alone."""
_ITEM_REASONS = frozenset({SOURCE_TIMEOUT, SOURCE_UNAVAILABLE})
"""Reasons of errors that are about the place that an item names: it was asked again and again, and other items lie
elsewhere."""
_AHEAD_ITEMS = 2 * MAX_IMAGES_PER_CALL
_AHEAD_BYTES = 4 * MAX_CALL_BYTES
"""The items and bytes that are read ahead: two calls' worth of small pictures, four of large ones."""
_NEAR_RUN, _FAR_RUN = MAX_IMAGES_PER_CALL, 4
"""The files that a thread reads in a row where they come quickly, and where they do not."""
_QUICK_S = 0.002
"""The mean time of a file up to which files come quickly. A file from a disk's cache takes a tenth of it, one from a network
mount several times as much."""
_MOST_HANGING = 4
"""The chunks' worth of threads that may hang before no further chunk is begun."""
_LOOK_S = 0.5
"""The time between two looks whether the chunk is to be given back."""

Content = bytes | LookalikeError


class Fetcher:
    """Thread-safe. `threads` is how many read for one chunk at a time, `timeout_s` the time that reading one item may take."""

    def __init__(self, reader: Reader, *, threads: int, timeout_s: float) -> None:
        self._reader, self.threads, self.timeout_s = reader, threads, timeout_s
        self.near_side_by_side = 1
        self.hanging = 0
        self._lock = threading.Lock()

    def fetch(self, items: Sequence[Item], interruption: Interruption, stages: Stages) -> Iterator[tuple[Item, Content]]:
        """The bytes of each item, in order, or why they could not be read. Raises `TRANSIENT`, `Draining`, `LeaseLost`."""
        if self.hanging >= _MOST_HANGING * self.threads:
            raise Unavailable("source", f"{self.hanging} reads hang; is a mount or a host of it gone?")
        ahead = _Ahead(self, items)
        try:
            for item in items:
                interruption.check()
                with stages.of("read"):
                    content = ahead.take(interruption)
                yield item, content
        finally:
            ahead.close()

    def work_off(self, run: Run) -> None:
        """Read the items of `run`. Called in a thread, which nothing waits for once the run has been abandoned."""
        first_s = time.monotonic()
        for item in run.items:
            run.began_s = time.monotonic()
            content = self._read(item)
            with self._lock:
                if run.abandoned:
                    self.hanging -= 1
                    return
                run.contents.append(content)
        if run.near:
            quick = time.monotonic() - first_s < _QUICK_S * len(run.items)
            self.near_side_by_side = 1 if quick else self.threads

    def abandon(self, run: Run, wanted: int) -> bool:
        """Wait no longer for the item `wanted` of a run; False where it is here after all, or has not been begun."""
        with self._lock:
            if len(run.contents) > wanted or run.began_s is None or run.read.done():
                return False
            run.abandoned = True
            self.hanging += 1
            return True

    def _read(self, item: Item) -> Content:
        try:
            return self._reader.read(item.uri, offset=item.offset, size_bytes=item.size_bytes)
        except _ITEM_ERRORS as error:
            return error
        except (Unavailable, DeadlineExceeded) as error:
            if error.reason not in _ITEM_REASONS:
                raise
            return error


@dataclass(eq=False, slots=True)
class Run:
    """Items that one thread reads in a row. `contents` are those read so far; at `began_s` the thread began with the next."""

    items: Sequence[Item]
    near: bool
    contents: list[Content] = field(default_factory=list)
    began_s: float | None = None
    abandoned: bool = False
    read: Future[None] = field(default_factory=Future)


class _Ahead:
    """The reads of one chunk: begun in order, and ahead of `take` as far as memory allows."""

    def __init__(self, fetcher: Fetcher, items: Sequence[Item]) -> None:
        self._fetcher, self._waiting = fetcher, deque(items)
        # The pool is this chunk's alone: a read that hangs takes no thread from another chunk.
        self._pool = ThreadPoolExecutor(fetcher.threads, thread_name_prefix="read")
        self._runs: deque[Run] = deque()
        self._taken = 0  # items of the first run
        self._largest_bytes = 0

    def take(self, interruption: Interruption) -> Content:
        """The content of the next item."""
        self._begin()
        run, since_s = self._runs[0], time.monotonic()
        while len(run.contents) <= self._taken:
            if self._is_late(run, since_s):
                late = self._give_up(run)
                if late is not None:
                    return late
            wait([run.read], min(_LOOK_S, self._fetcher.timeout_s))
            if run.read.done() and len(run.contents) <= self._taken:
                run.read.result()  # Raises what kept the thread from going on.
            interruption.check()
        content, run.contents[self._taken] = run.contents[self._taken], b""  # Only the caller holds it from now on.
        self._taken += 1
        if self._taken == len(run.items):
            self._runs.popleft()
            self._taken = 0
        if isinstance(content, bytes):
            self._largest_bytes = max(len(content), self._largest_bytes)
        return content

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for run in self._runs:
            self._fetcher.abandon(run, len(run.contents))

    def _begin(self) -> None:
        most = max(1, min(_AHEAD_ITEMS, _AHEAD_BYTES // (self._largest_bytes or MAX_IMAGE_BYTES)))
        while self._waiting:
            room = most - sum(len(run.items) for run in self._runs) + self._taken
            near = _is_near(self._waiting[0])
            under_way = sum(run.near and not run.read.done() for run in self._runs)
            if self._runs and (room <= 0 or (near and under_way >= self._fetcher.near_side_by_side)):
                return
            longest = (_NEAR_RUN if self._fetcher.near_side_by_side == 1 else _FAR_RUN) if near else 1
            items = [self._waiting.popleft()]
            while self._waiting and len(items) < min(longest, room) and _is_near(self._waiting[0]):
                items.append(self._waiting.popleft())
            self._runs.append(self._start(items))

    def _start(self, items: Sequence[Item]) -> Run:
        run = Run(items, _is_near(items[0]))
        run.read = self._pool.submit(self._fetcher.work_off, run)
        return run

    def _is_late(self, run: Run, since_s: float) -> bool:
        """Whether the item that is wanted has had its time, which starts when its read begins, or else when it is wanted."""
        return time.monotonic() - (run.began_s or since_s) > self._fetcher.timeout_s

    def _give_up(self, run: Run) -> Content | None:
        """Let the item that is wanted fail, and give what comes behind it in its run to another thread."""
        if run.began_s is None:
            raise Unavailable("source", f"all {self._fetcher.threads} threads that read it hang")
        if not self._fetcher.abandon(run, self._taken):
            return None
        rest = run.items[self._taken + 1 :]
        self._runs.popleft()
        self._taken = 0
        if rest:
            self._runs.appendleft(self._start(rest))
        return DeadlineExceeded(f"was not read within {self._fetcher.timeout_s:g} s", reason=SOURCE_TIMEOUT)


def _is_near(item: Item) -> bool:
    """Whether the item is, or may be, in a file of this machine."""
    return not item.uri.rpartition("::")[2].lower().startswith(("http://", "https://", "s3://"))
