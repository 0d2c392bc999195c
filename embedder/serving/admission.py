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

SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.1, 10.0
"""Bounds of the wait that a refusal advises: a caller should neither come at once nor stay away long after an overload."""
_STEP = 1.05
"""Growth of the time between two turns for each caller that is refused in its turn; each other caller shrinks it as much."""
_LATE_S = 1.0
"""Most delay of a caller after its turn: clients add a random part, so that they do not come all at once."""
_LONGEST_PACE_S = 1.0
"""Most time between two turns."""
_LOOK_S = 0.1
"""Time between two looks at the door."""
_LEAST_FULL_S = 0.1
"""Least time that a full queue is taken to need. A look cannot distinguish shorter times, and a burst is taken in by then."""
_TIMED_CALLS = 8
"""Least calls taken in between two looks that give the time of one call. A pause would be most of the time of fewer calls."""
_WATCHED_FROM_CALLS = 2
"""Least calls in the queue for a look at the door: a look takes .3 ms, which a lone call is spared."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds. `batch_*`: of one batch (an item larger than `batch_bytes` runs alone). `queue_*`: of each lane, admitted and not
    yet answered: items, bytes as the callers sent them, and calls."""

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
        seconds an item; `SHORTEST_RETRY_S` to `LONGEST_RETRY_S`."""
        now_s = self._clock()
        self._learn(now_s, item_s)
        turn_s = max(self._last_s, now_s + queued_items * item_s) + items * max(self._pace_s, item_s)
        self._last_s = min(turn_s, now_s + LONGEST_RETRY_S)
        self._turns.append(self._last_s)
        return max(SHORTEST_RETRY_S, self._last_s - now_s)

    def _learn(self, now_s: float, item_s: float) -> None:
        """From a refusal: the caller whose turn was just now is the one refused, and those of earlier turns have found room."""
        while self._turns and self._turns[0] < now_s - _LATE_S:
            self._turns.popleft()
            self._pace_s /= _STEP
        if self._turns and self._turns[0] <= now_s:
            self._turns.popleft()
            self._pace_s = min(max(self._pace_s, item_s) * _STEP, _LONGEST_PACE_S)


@dataclass(frozen=True, slots=True)
class _Look:
    """By `at_s` (s) the calls 1 to `last` had arrived. Calls are numbered in the order in which they are taken in."""

    at_s: float
    last: int


class Door:
    """The server's door: calls that have arrived and that no handler has taken in, `at_the_door` of them.

    Where computing is quick, taking calls in is what limits a server: calls wait at its door without bound while its queue
    never fills, so a look at the queue alone would refuse none. gRPC does not say when a call arrived. It takes calls in in the
    order of their arrival, so the number of calls that stood there at a time says which of the calls that follow had arrived.
    """

    def __init__(self, at_the_door: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._at_the_door, self._clock = at_the_door, clock
        self._taken_in = 0
        self._looks: deque[_Look] = deque()
        self._looked_s = 0.0
        self._at_look = 0
        """How many had been taken in at the last look."""
        self.crowd = 0
        """Calls that stood there at the last look."""
        self.take_in_s = 0.0
        """Seconds from one call that is taken in to the next while others wait."""

    def take_in(self, inside: int) -> bool:
        """A call is taken in now. Whether that was time for a look; `inside`: calls in the queue."""
        now_s = self._clock()
        self._taken_in += 1
        while self._looks and self._looks[0].last < self._taken_in:
            self._looks.popleft()
        due = (inside >= _WATCHED_FROM_CALLS or bool(self._looks)) and now_s - self._looked_s >= _LOOK_S
        if due:
            self._look(now_s)
        return due

    @property
    def stood_s(self) -> float:
        """Seconds that the call which was taken in last has stood at the door, at least."""
        return self._clock() - self._looks[0].at_s if self._looks else 0.0

    def _look(self, now_s: float) -> None:
        taken_in = self._taken_in - self._at_look
        if _TIMED_CALLS <= taken_in <= self.crowd:  # the door was never empty meanwhile
            self.take_in_s = (now_s - self._looked_s) / taken_in
        self._looked_s, self._at_look, self.crowd = now_s, self._taken_in, self._at_the_door()
        AT_THE_DOOR.set(self.crowd)
        since_s, last = now_s, self._taken_in + self.crowd
        while self._looks and self._looks[-1].last >= last:
            since_s = self._looks.pop().at_s  # fewer follow than were seen: some have gone, or wanted no place
        self._looks.append(_Look(since_s, last))


@dataclass(slots=True)
class _LaneUse:
    """What a lane has admitted and not yet answered."""

    items: int = 0
    size_bytes: int = 0
    calls: int = 0
    overloaded: bool = False
    """From more calls than places, at the door or here, until nobody waits."""
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

    def enter(self, lane: Lane, items: int, size_bytes: int, item_s: float, least_item_s: float) -> None:
        """Take a place for one call of `items` pictures. A picture takes `item_s` seconds now, `least_item_s` undisturbed.

        Raises `Overloaded` where the lane is full, or where there are more calls than places and this one would come too late.
        """
        use, limits = self._uses[lane], self._limits
        self._look_at_the_door(use)
        if (
            use.items + items > limits.queue_items
            or use.size_bytes + size_bytes > limits.queue_bytes
            or use.calls + 1 > limits.queue_calls
        ):
            full = f"the embedder's {lane.value} queue is full ({use.items} pictures of {use.calls} calls)"
        elif use.overloaded and self._too_late(use, items, item_s, least_item_s):
            crowd = self.door.crowd if self.door else 0
            full = f"the embedder has too much to do: {crowd} calls at its door, {use.items} pictures in its {lane.value} queue"
        else:
            self._count(lane, items, size_bytes, 1)
            return
        use.overloaded = True
        pace_s = max(item_s, self.door.take_in_s if self.door else 0.0)
        raise Overloaded(full, retry_after_s=use.turns.next_s(items, use.items, pace_s))

    def _look_at_the_door(self, use: _LaneUse) -> None:
        """Learn whether there are more calls than places. An overload lasts until nobody waits any more in queue and door."""
        looked = self.door is not None and self.door.take_in(self.calls)
        if self.door and looked:
            for one in self._uses.values():
                one.overloaded |= one.calls + self.door.crowd > self._limits.queue_calls
        if not use.calls and not self._stood_s():
            use.overloaded = False

    def _stood_s(self) -> float:
        return self.door.stood_s if self.door else 0.0

    def _too_late(self, use: _LaneUse, items: int, item_s: float, least_item_s: float) -> bool:
        """Whether a call of `items` would be answered later than the last of a full queue where nothing disturbs it."""
        limits, door = self._limits, self.door
        full_s = min(limits.queue_items, limits.queue_calls * items) * least_item_s
        taken_in_s = limits.queue_calls * door.take_in_s if door else 0.0
        return self._stood_s() + (use.items + items) * item_s > max(full_s, taken_in_s, _LEAST_FULL_S)

    def leave(self, lane: Lane, items: int, size_bytes: int) -> None:
        """Give the place back."""
        self._count(lane, -items, -size_bytes, -1)

    def _count(self, lane: Lane, items: int, size_bytes: int, calls: int) -> None:
        use = self._uses[lane]
        use.items, use.size_bytes, use.calls = use.items + items, use.size_bytes + size_bytes, use.calls + calls
        ADMITTED_ITEMS.labels(lane.value).inc(items)
