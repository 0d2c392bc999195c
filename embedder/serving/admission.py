"""Admission to the batcher's queue: which calls get a place, and when a refused caller should come back.

Owns the bounds of the two lanes and the advice that refusals carry. Overload must cost admitted calls nothing, so a refusal is
only as good as its advice: the server spends a good part of an answer's time on it, and a caller that comes back too early is
refused again. Called by `embedder.serving.batcher`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Gauge

from embedder.pictures.waiting import Lane
from lookalike.errors import Overloaded

ADMITTED_ITEMS = Gauge("lookalike_embedder_admitted_images", "Pictures admitted and not yet answered.", ("lane",))
AT_THE_DOOR = Gauge("lookalike_embedder_calls_at_the_door", "Calls that have arrived and that no handler has taken in yet.")

LEAST_RETRY_S, LONGEST_RETRY_S = 0.1, 10.0
"""Bounds of the wait that a refusal advises: a caller should neither come at once nor stay away long after an overload."""
_STEP = 1.05
"""Growth of the time between two turns for each caller that is refused in its turn; each other caller shrinks it as much."""
_LATE_S = 1.0
"""Most delay of a caller after its turn: clients add a random part, so that they do not come all at once."""
_LONGEST_PACE_S = 1.0
"""Most time between two turns."""
_LOOK_S = 0.1
"""Time between two looks at the door."""
_STANDING_S = 0.5
"""Time for which calls must have stood at the door: a burst is taken in sooner, and its first callers are let in meanwhile."""
_WATCHED_FROM_CALLS = 2
"""Least calls in the queue for a look at the door: a look takes .3 ms, which a lone call is spared."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds. `batch_*`: of one batch (an item larger than `batch_bytes` runs alone). `queue_*`: of each lane, admitted and not
    yet answered: items, bytes as the callers sent them, and calls, those included that have stood at the server's door."""

    batch_items: int = 32
    batch_bytes: int = 64 * 1024 * 1024
    queue_items: int = 1024
    queue_bytes: int = 256 * 1024 * 1024
    queue_calls: int = 128


class Turns:
    """When refused callers should come back: one after the other, and not faster than those inside are answered.

    The first turns follow one another as fast as pictures are computed. Where callers are refused again in their turn,
    since others take the places that become free, turns become rarer, and more frequent again where callers find room.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last_s = self._pace_s = 0.0
        self._turns: deque[float] = deque()

    def next_s(self, items: int, queued_items: int, item_s: float) -> float:
        """Seconds until the turn of a caller with `items` that is refused now, with `queued_items` before it, at `item_s`
        seconds an item; `LEAST_RETRY_S` to `LONGEST_RETRY_S`."""
        now_s = self._clock()
        self._learn(now_s, item_s)
        turn_s = max(self._last_s, now_s + queued_items * item_s) + items * max(self._pace_s, item_s)
        self._last_s = min(turn_s, now_s + LONGEST_RETRY_S)
        self._turns.append(self._last_s)
        return max(LEAST_RETRY_S, self._last_s - now_s)

    def _learn(self, now_s: float, item_s: float) -> None:
        """From a refusal: the caller whose turn was just now is the one refused, and those of earlier turns have found room."""
        while self._turns and self._turns[0] < now_s - _LATE_S:
            self._turns.popleft()
            self._pace_s /= _STEP
        if self._turns and self._turns[0] <= now_s:
            self._turns.popleft()
            self._pace_s = min(max(self._pace_s, item_s) * _STEP, _LONGEST_PACE_S)


class Door:
    """The server's door: calls that have arrived and that no handler has taken in. `unanswered` counts the calls that have
    arrived and are not answered, whether a handler has them or not.

    Where computing is quick, taking calls in is what limits a server: calls wait at its door without bound while its queue
    never fills, so a look at the queue alone would refuse none.
    """

    def __init__(self, unanswered: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._unanswered, self._clock = unanswered, clock
        self._looked_s = 0.0
        self._too_many = 0
        self._seen: deque[tuple[float, int]] = deque()

    def crowded(self, inside: int, room: int) -> int:
        """Calls at the door, if more than `room` have stood there for half a second and this one is of those too many; else 0.
        `inside`: calls in the queue."""
        now_s = self._clock()
        if (inside >= _WATCHED_FROM_CALLS or self._seen) and now_s - self._looked_s >= _LOOK_S:
            self._look(now_s, inside, room)
        if self._too_many <= 0:
            return 0
        self._too_many -= 1
        return self._seen[-1][1]

    def _look(self, now_s: float, inside: int, room: int) -> None:
        if now_s - self._looked_s > _STANDING_S:
            self._seen.clear()  # what was seen long ago says nothing of the time between
        self._looked_s, at_the_door = now_s, max(0, self._unanswered() - inside)
        AT_THE_DOOR.set(at_the_door)
        self._seen.append((now_s, at_the_door))
        while now_s - self._seen[0][0] > _STANDING_S + _LOOK_S:
            self._seen.popleft()
        long_enough = now_s - self._seen[0][0] >= _STANDING_S
        self._too_many = min(count for _, count in self._seen) - room if long_enough else 0
        if at_the_door == 0:
            self._seen.clear()


@dataclass(slots=True)
class _LaneUse:
    """What a lane has admitted and not yet answered."""

    items: int = 0
    size_bytes: int = 0
    calls: int = 0
    turns: Turns = field(default_factory=Turns)


class Admission:
    """The places of both lanes. Not thread-safe: the batcher's lock is held."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._uses = {lane: _LaneUse() for lane in Lane}
        self.door: Door | None = None
        """Of the server whose calls take the places; set once it is there."""

    @property
    def calls(self) -> int:
        """Calls admitted and not yet answered, of both lanes."""
        return sum(use.calls for use in self._uses.values())

    def enter(self, lane: Lane, items: int, size_bytes: int, item_s: float) -> None:
        """Take a place for one call of `items` pictures. Raises `Overloaded` where the lane, or the server's door, is full."""
        use, limits = self._uses[lane], self._limits
        if (
            use.items + items > limits.queue_items
            or use.size_bytes + size_bytes > limits.queue_bytes
            or use.calls + 1 > limits.queue_calls
        ):
            raise Overloaded(
                f"the embedder's {lane.value} queue is full ({use.items} pictures of {use.calls} calls)",
                retry_after_s=use.turns.next_s(items, use.items, item_s),
            )
        waiting = self.door.crowded(self.calls, limits.queue_calls - use.calls) if self.door else 0
        if waiting:
            raise Overloaded(
                f"{waiting} calls wait at the embedder's door", retry_after_s=use.turns.next_s(items, use.items, item_s)
            )
        self._count(lane, items, size_bytes, 1)

    def leave(self, lane: Lane, items: int, size_bytes: int) -> None:
        """Give the place back."""
        self._count(lane, -items, -size_bytes, -1)

    def _count(self, lane: Lane, items: int, size_bytes: int, calls: int) -> None:
        use = self._uses[lane]
        use.items, use.size_bytes, use.calls = use.items + items, use.size_bytes + size_bytes, use.calls + calls
        ADMITTED_ITEMS.labels(lane.value).inc(items)
