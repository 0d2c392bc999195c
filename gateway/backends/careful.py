"""Keeps a picture that the embedder dies of from being sent again and again, by a page reloaded or a client that retries.

Called by `gateway.backends.embedder`, for searches and thumbnails apart. A call is sent once; no layer below tries it again.
The pictures of a call that the embedder died in, or kept for `_HANG_S`, are suspects from then on: each is sent alone, one at
a time, after a good one, and refused after `MOST_DEATHS` deaths (`lookalike.jobs.suspects` has the rule, and shares what is
known between gateways and workers). A hang counts like a death where a good picture that was sent later is answered at once. A
slow or overloaded embedder is slow with the good picture too, so that nothing is counted then. Without Redis a gateway goes by
what it has seen itself: searches do not wait for Redis, and nothing is looked up while nothing is suspected.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog

from gateway.backends.threads import Threads
from lookalike.errors import CallLost, DeadlineExceeded, Internal, LookalikeError, Unavailable
from lookalike.jobs.suspects import KEPT_S, KNOWN_GOOD, MOST_DEATHS, Suspects, breaks_embedder, kept_part
from lookalike.runtime.call import Deadline

R = TypeVar("R")
T = TypeVar("T")

_MOST_KNOWN = 20_000
"""Suspects that one gateway remembers, some 4 MB; the oldest go first."""
_SHARED_WITHIN_S = 2.0
"""The time that a gateway waits for what Redis knows of suspects."""
_HASHED_IN_LOOP_BYTES = 1024 * 1024
"""The bytes that are hashed on the loop, as in `query_embeddings`: more would hold up other calls."""
_APART_S = 1.0
"""The longest wait before a picture is sent again that the embedder has died of, as in the indexer."""
_HANG_S = 8.0
"""The time that the embedder may keep a picture: far above any healthy answer, and below the 10 s that callers wait by
default."""
_SOON_S = 1.0
"""The time in which an embedder that is neither slow nor overloaded answers for the good picture; usually some .05 s."""


@dataclass(slots=True)
class _Suspect:
    deaths: int
    since_s: float


class Careful:
    """One per process and kind of call, used from one event loop. `shared` is what all processes know, asked in `threads`."""

    def __init__(
        self,
        shared: Suspects | None = None,
        threads: Threads | None = None,
        *,
        kept_s: float = KEPT_S,
        apart_s: float = _APART_S,
        hang_s: float = _HANG_S,
        soon_s: float = _SOON_S,
    ) -> None:
        self._shared, self._threads, self._kept_s, self._apart_s = shared, threads, kept_s, apart_s
        self._known: OrderedDict[str, _Suspect] = OrderedDict()
        self._hang_s, self._soon_s = hang_s, soon_s
        self._turn = asyncio.Lock()
        self._trials: set[asyncio.Task[object]] = set()
        self._log = structlog.get_logger()

    async def made(
        self, contents: Sequence[bytes], call: Callable[[Sequence[bytes]], Awaitable[Sequence[R | LookalikeError]]]
    ) -> list[R | LookalikeError]:
        """What `call` gives for each picture, in order; for a suspect perhaps why there is nothing. Raises what `call`
        raises."""
        if not self._known:
            return list(await self._together(contents, call))
        hashes = await _hashes(contents)
        suspected = [self._suspected(sha256) for sha256 in hashes]
        free = [content for content, apart in zip(contents, suspected, strict=True) if not apart]
        made = iter(await self._together(free, call) if free else ())
        return [
            await self._alone(content, sha256, call) if apart else next(made)
            for content, sha256, apart in zip(contents, hashes, suspected, strict=True)
        ]

    async def watch(self, interval_s: float) -> None:
        """Learn what is refused elsewhere and forget what is old, every `interval_s` seconds until cancelled."""
        while True:
            if self._shared is not None:
                for sha256, deaths in (await self._asked(self._shared.refused) or {}).items():
                    self._remember(sha256, deaths)
            for sha256 in list(self._known):
                self._suspected(sha256)
            await asyncio.sleep(interval_s)

    async def _together(
        self, contents: Sequence[bytes], call: Callable[[Sequence[bytes]], Awaitable[Sequence[R | LookalikeError]]]
    ) -> Sequence[R | LookalikeError]:
        began_s = time.monotonic()
        try:
            return await call(contents)
        except (DeadlineExceeded, asyncio.CancelledError):
            # A caller that waits no longer cancels this. Nothing is awaited here, so that the cancellation goes through.
            if time.monotonic() - began_s >= self._hang_s:
                for content in contents:
                    self._remember(_sha256(content), 0)
            raise
        except CallLost:
            hashes = await _hashes(contents)
            for sha256 in hashes:
                self._remember(sha256, 0)
            if (shared := self._shared) is not None:
                await self._asked(lambda: shared.add(hashes))
            raise
        except Internal:
            if len(contents) == 1:
                raise
            # One of the pictures meets a defect: the others are answered.
            return [await self._apart(content, call) for content in contents]

    async def _apart(
        self, content: bytes, call: Callable[[Sequence[bytes]], Awaitable[Sequence[R | LookalikeError]]]
    ) -> R | LookalikeError:
        try:
            return (await self._together([content], call))[0]
        except LookalikeError as error:
            return error

    async def _alone(
        self, content: bytes, sha256: str, call: Callable[[Sequence[bytes]], Awaitable[Sequence[R | LookalikeError]]]
    ) -> R | LookalikeError:
        await self._turn.acquire()
        # A task of its own: a caller that waits less than `hang_s` must not end what would show a hang.
        trial = asyncio.create_task(self._tried(content, sha256, call))
        self._trials.add(trial)
        trial.add_done_callback(self._trials.discard)
        trial.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(trial)

    async def _tried(
        self, content: bytes, sha256: str, call: Callable[[Sequence[bytes]], Awaitable[Sequence[R | LookalikeError]]]
    ) -> R | LookalikeError:
        deaths = await self._deaths(sha256)
        if deaths >= MOST_DEATHS:
            return breaks_embedder()
        if deaths:
            await asyncio.sleep(random.uniform(0.0, self._apart_s))  # noqa: S311 - not for secrecy
        try:
            await _check_sound(call, self._soon_s)
            result = await self._answer(content, call)
        except CallLost as error:
            return await self._died(sha256, error)
        except LookalikeError as error:
            return error
        if result is None:
            return await self._died(sha256, DeadlineExceeded(f"embedder did not answer for the picture in {self._hang_s:g} s"))
        await self._acquit(sha256)
        return result

    async def _answer(
        self, content: bytes, call: Callable[[Sequence[bytes]], Awaitable[Sequence[R | LookalikeError]]]
    ) -> R | LookalikeError | None:
        """What `call` gives; None where the embedder hangs over this picture. Raises `Unavailable` where all are slow."""
        answer = asyncio.ensure_future(call([content]))
        try:
            await asyncio.wait({answer}, timeout=self._hang_s)
            if not answer.done():
                await _check_sound(call, self._soon_s)
                # An overload may have ended just now. Then this picture is answered as well.
                await asyncio.wait({answer}, timeout=self._soon_s)
            return (await answer)[0] if answer.done() else None
        finally:
            answer.cancel()

    def _suspected(self, sha256: str) -> bool:
        found = self._known.get(sha256)
        if found is not None and time.monotonic() - found.since_s > self._kept_s:
            del self._known[sha256]
        return sha256 in self._known

    def _remember(self, sha256: str, deaths: int) -> int:
        """Suspect a picture with at least `deaths` deaths; how many there are."""
        found = self._known.setdefault(sha256, _Suspect(deaths, time.monotonic()))
        if deaths > found.deaths:
            found.deaths, found.since_s = deaths, time.monotonic()
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return found.deaths

    async def _deaths(self, sha256: str) -> int:
        shared, known = self._shared, self._remember(sha256, 0)
        if shared is None or known >= MOST_DEATHS:
            return known
        (elsewhere,) = await self._asked(lambda: shared.deaths([sha256])) or [None]
        return self._remember(sha256, elsewhere or 0)

    async def _died(self, sha256: str, error: LookalikeError) -> LookalikeError:
        deaths = self._remember(sha256, self._remember(sha256, 0) + 1)
        if (shared := self._shared) is not None:
            deaths = self._remember(sha256, await self._asked(lambda: shared.died(sha256)) or 0)
        self._log.warning("picture alone broke the embedder", sha256=sha256, deaths=deaths, problem=error.message)
        return breaks_embedder() if deaths >= MOST_DEATHS else error

    async def _acquit(self, sha256: str) -> None:
        self._known.pop(sha256, None)
        if (shared := self._shared) is not None:
            await self._asked(lambda: shared.acquit(sha256))

    async def _asked(self, ask: Callable[[], T]) -> T | None:
        """What Redis says; None where it does not answer soon."""
        if self._threads is None:
            return None
        with suppress(LookalikeError):
            return await self._threads.run(ask, Deadline.after(_SHARED_WITHIN_S))
        return None


async def _check_sound(call: Callable[[Sequence[bytes]], Awaitable[object]], soon_s: float) -> None:
    """Raise `Unavailable` unless the embedder soon answers for a good picture: nothing can be held against others then."""
    try:
        async with asyncio.timeout(soon_s):
            await call([KNOWN_GOOD])
    except TimeoutError as error:
        raise Unavailable("embedder", f"it takes over {soon_s:g} s for a good picture too") from error
    except (CallLost, DeadlineExceeded, Internal) as error:
        raise Unavailable("embedder", f"it fails with a good picture too: {error.message}") from error


async def _hashes(contents: Sequence[bytes]) -> list[str]:
    if sum(map(len, contents)) > _HASHED_IN_LOOP_BYTES:
        return await asyncio.to_thread(lambda: [_sha256(content) for content in contents])
    return [_sha256(content) for content in contents]


def _sha256(content: bytes) -> str:
    return kept_part(hashlib.sha256(content).hexdigest())
