"""Sends the pictures of a chunk to the embedder: in full calls, a few of them under way at a time, or one by one.

Used by `pipeline` and `reembedding`. A chunk goes through in two passes. The first sends full calls and leaves out the
suspects: pictures that the embedder may have died of. The second, when the rest is written, sends each suspect alone. Where the
embedder dies during a call, keeps it for its whole time or fails over it, the pictures of that call become suspects
(`lookalike.jobs.suspects` has the rule) and the chunk is released, uncounted: the thread goes to other chunks while the
embedder starts again. What is known of the suspects is in Redis, so that no kill of a worker loses it.
"""

from __future__ import annotations

import contextvars
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeVar

import structlog
from prometheus_client import Counter

from indexer.chunk.items import Chunk, Fetched, Outcome, ToWrite
from indexer.chunk.stages import Stages
from indexer.interruption import Interruption
from lookalike.errors import CallLost, DeadlineExceeded, Internal, LookalikeError, Unavailable
from lookalike.items import Item
from lookalike.jobs.suspects import KNOWN_GOOD, MOST_DEATHS, Suspects, breaks_embedder
from lookalike.names import MAX_CALL_BYTES, MAX_IMAGES_PER_CALL

R = TypeVar("R")

TRIED_ALONE = Counter(
    "lookalike_indexer_suspects_total",
    "Pictures that the embedder may have died of, tried alone, by outcome: good, died, given_up (died too often).",
    ("outcome",),
)
_SUSPICIOUS = (CallLost, DeadlineExceeded, Internal)
"""The errors of a call over a picture that kills the embedder, that hangs it, or that meets a defect in it."""
_TURN_S = 2.0
"""Bounds the wait of a chunk for its turn with a suspect; then its thread goes to other chunks."""
_APART_S = 1.0
"""Bounds the random wait before a picture is sent again that the embedder has died of. All that waited for the embedder comes
at once when it is back, and a picture must not share its death with the same others each time."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An item that the first pass left out: the embedder may have died of its picture."""

    item: Item


@dataclass(frozen=True, slots=True)
class Prepared:
    """The results of a pass over a chunk: what is done with, what is to be written, and what is to be sent alone."""

    outcomes: list[Outcome] = field(default_factory=list)
    ready: list[ToWrite] = field(default_factory=list)
    suspects: list[Item] = field(default_factory=list)

    def add(self, one: ToWrite | Outcome | Suspect) -> None:
        match one:
            case ToWrite():
                self.ready.append(one)
            case Suspect():
                self.suspects.append(one.item)
            case _:
                self.outcomes.append(one)

    def to_embed(self, found: Iterable[Fetched | ToWrite | Outcome]) -> Iterator[Fetched]:
        """Those of `found` that have no vectors yet; the others are results."""
        for one in found:
            if isinstance(one, Fetched):
                yield one
            else:
                self.add(one)


class EmbedBatches:
    """Owns the threads that wait for the embedder. Thread-safe. `turn_s` and `apart_s`: see their defaults."""

    def __init__(
        self, suspects: Suspects, *, concurrency: int, in_flight: int, turn_s: float = _TURN_S, apart_s: float = _APART_S
    ) -> None:
        self._suspects, self._in_flight, self._turn_s, self._apart_s = suspects, in_flight, turn_s, apart_s
        self._threads = ThreadPoolExecutor(concurrency * in_flight, thread_name_prefix="embed")
        self._log = structlog.get_logger()

    def run(
        self, fetched: Iterable[Fetched], call: Callable[[Sequence[bytes]], Sequence[R]], chunk: Chunk, *, alone: bool
    ) -> Iterator[tuple[Fetched, R | LookalikeError] | Suspect]:
        """One pass over a chunk: each picture `alone`, or in full calls without the suspects.

        Gives every picture with what `call` gave for it, or with an error where the embedder died of the picture too often. The
        suspects come last, the worst at the end: the others are acquitted before the worst ends the embedder again. At most
        a few calls' worth of pictures are in memory.

        Raises what `call` raises, and `Unavailable` where the pictures of a call became suspects, or where other chunks have
        the turn with their suspects for long.
        """
        for one in self._one_by_one(fetched, call, chunk) if alone else self._in_batches(fetched, call, chunk):
            if not isinstance(one, Suspect):
                chunk.lease.done.items += 1
            yield one

    def _in_batches(
        self, fetched: Iterable[Fetched], call: Callable[[Sequence[bytes]], Sequence[R]], chunk: Chunk
    ) -> Iterator[tuple[Fetched, R | LookalikeError] | Suspect]:
        under_way: deque[tuple[list[Fetched], Future[Sequence[R]]]] = deque()
        suspects: list[tuple[int, Suspect]] = []
        try:
            for batch in _batches(fetched):
                deaths = self._suspects.deaths([one.sha256 for one in batch])
                sent: list[Fetched] = []
                for one, of_it in zip(batch, deaths, strict=True):
                    if of_it is None:
                        sent.append(one)
                    elif _too_many(of_it):
                        yield one, breaks_embedder()
                    else:
                        suspects.append((of_it, Suspect(one.item)))
                if not sent:
                    continue
                if len(under_way) >= self._in_flight:
                    yield from _collected(*under_way.popleft(), chunk.stages)
                # Within the chunk's trace.
                under_way.append((sent, self._threads.submit(contextvars.copy_context().run, self._together, call, sent)))
            while under_way:
                yield from _collected(*under_way.popleft(), chunk.stages)
        finally:
            for _, result in under_way:
                result.cancel()
        for _, suspect in sorted(suspects, key=itemgetter(0)):
            yield suspect

    def _one_by_one(
        self, fetched: Iterable[Fetched], call: Callable[[Sequence[bytes]], Sequence[R]], chunk: Chunk
    ) -> Iterator[tuple[Fetched, R | LookalikeError]]:
        for one in fetched:
            with chunk.stages.of("embed"), self._suspects.alone(timeout_s=self._turn_s):
                result = self._alone(one, call, chunk.interruption)
            yield one, result

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _together(self, call: Callable[[Sequence[bytes]], Sequence[R]], batch: Sequence[Fetched]) -> Sequence[R]:
        try:
            return call([one.content for one in batch])
        except _SUSPICIOUS as error:
            self._suspects.add([one.sha256 for one in batch])
            self._log.warning("pictures are suspected", pictures=len(batch), problem=error.message)
            problem = f"{_problem(error)}; the {len(batch)} pictures that it had are tried one by one"
            raise Unavailable("embedder", problem) from error

    def _alone(
        self, one: Fetched, call: Callable[[Sequence[bytes]], Sequence[R]], interruption: Interruption
    ) -> R | LookalikeError:
        (deaths,) = self._suspects.deaths([one.sha256])
        if _too_many(deaths):
            return breaks_embedder()
        if deaths:
            interruption.wait(random.uniform(0.0, self._apart_s))  # noqa: S311 - not for secrecy
        _check_sound(call)
        try:
            (result,) = call([one.content])
        except _SUSPICIOUS as error:
            if not isinstance(error, CallLost):
                _check_sound(call)  # A sound embedder means that the picture was the cause, and no hang or defect of its own.
            return self._died(one, error)
        self._suspects.acquit(one.sha256)
        TRIED_ALONE.labels("good").inc()
        return result

    def _died(self, one: Fetched, error: LookalikeError) -> LookalikeError:
        deaths = self._suspects.died(one.sha256)
        self._log.warning("picture alone broke the embedder", sha256=one.sha256, deaths=deaths, problem=error.message)
        if _too_many(deaths):
            TRIED_ALONE.labels("given_up").inc()
            return breaks_embedder()
        TRIED_ALONE.labels("died").inc()
        raise Unavailable("embedder", f"{_problem(error)}, when it had one picture; that is tried again later") from error


def _too_many(deaths: int | None) -> bool:
    return deaths is not None and deaths >= MOST_DEATHS


def _problem(error: LookalikeError) -> str:
    return error.message.removeprefix("embedder is unavailable: ")


def _check_sound(call: Callable[[Sequence[bytes]], object]) -> None:
    """Raise `Unavailable` unless the embedder answers for a good picture: nothing can be held against others then."""
    try:
        call([KNOWN_GOOD])
    except (DeadlineExceeded, Internal) as error:
        raise Unavailable("embedder", f"it fails with a good picture too: {_problem(error)}") from error


def _collected(batch: Sequence[Fetched], result: Future[Sequence[R]], stages: Stages) -> list[tuple[Fetched, R]]:
    with stages.of("embed"):
        return list(zip(batch, result.result(), strict=True))


def _batches(items: Iterable[Fetched]) -> Iterator[list[Fetched]]:
    """Full calls: up to 32 pictures and 16 MiB, or one larger picture alone."""
    batch: list[Fetched] = []
    size_bytes = 0
    for fetched in items:
        if batch and (len(batch) == MAX_IMAGES_PER_CALL or size_bytes + len(fetched.content) > MAX_CALL_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(fetched)
        size_bytes += len(fetched.content)
    if batch:
        yield batch
