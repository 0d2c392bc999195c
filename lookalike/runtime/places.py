"""A bounded number of places (calls, connections, bytes). A peer that keeps the server waiting loses its place to others.

A server takes a place for what arrives, and says whose turn it is: ours (`goes_on`) or the peer's (`waits`). Where all places
are taken, the holder that has waited longest for its peer gives up its own, once it has waited for `patience_s`. So silence
costs the silent, and nobody else; a place that is at work is never taken away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lookalike.errors import Overloaded

Clock = Callable[[], float]


class Places:
    """At most `limit` places, from any thread. `refusal` is the error that a caller gets where there is none.

    `end` of a holder, which gives up its place, is called in the thread that needs it or that calls `end_overdue`.
    """

    def __init__(self, limit: int, refusal: str, *, patience_s: float = 1.0, clock: Clock = time.monotonic) -> None:
        self.limit, self.held = limit, 0
        self._refusal, self._patience_s, self._clock = refusal, patience_s, clock
        self._waiting: dict[Place, float] = {}
        """Since when each waits for its peer, in seconds of the clock; the longest first."""
        self._lock = threading.Lock()

    def take(self, end: Callable[[], None], size: int = 1) -> Place:
        """A place of `size`, which is ours to go on with. Raises `Overloaded`."""
        place = Place(self, end)
        self.change(place, size)
        return place

    def change(self, place: Place, size: int) -> None:
        """Make `place` one of `size`. Raises `Overloaded`; the place then is as it was."""
        with self._lock:
            given_up = [] if place.ended else self._make_room(place, size - place.size)
            if not place.ended:
                self.held += size - place.size
                place.size = size
        for other in given_up:
            other.end()
        if place.ended and size:
            raise Overloaded(self._refusal)

    def mark(self, place: Place, *, waits: bool) -> None:
        with self._lock:
            self._waiting.pop(place, None)
            if waits and not place.ended:
                self._waiting[place] = self._clock()

    def waiting(self, since_s: float) -> int:
        """How many have waited for their peers for `since_s` at least."""
        with self._lock:
            until = self._clock() - since_s
            return sum(1 for since in self._waiting.values() if since <= until)

    def end_overdue(self, longest_s: float) -> None:
        """End those that have waited for their peers for `longest_s`."""
        with self._lock:
            until = self._clock() - longest_s
            overdue = []
            for place, since in self._waiting.items():
                if since > until:
                    break
                overdue.append(place)
            for place in overdue:
                place.overdue = True
                self._forget(place)
        for place in overdue:
            place.end()

    def _make_room(self, place: Place, more: int) -> list[Place]:
        """Those that give up their places for `more`, who are forgotten already."""
        if self.held + more <= self.limit:
            return []
        until, free, chosen = self._clock() - self._patience_s, self.limit - self.held, []
        for other, since in self._waiting.items():
            if since > until or free >= more:
                break
            if other is not place and other.size:
                chosen.append(other)
                free += other.size
        if free < more:
            raise Overloaded(self._refusal)
        for other in chosen:
            self._forget(other)
        return chosen

    def _forget(self, place: Place) -> None:
        del self._waiting[place]
        self.held -= place.size
        place.size, place.ended = 0, True


class Place:
    """What one holder has of `Places`. `ended`: it was given to another, or (`overdue`) its peer was waited for too long."""

    __slots__ = ("_places", "end", "ended", "overdue", "size")

    def __init__(self, places: Places, end: Callable[[], None]) -> None:
        self._places, self.end, self.size, self.ended, self.overdue = places, end, 0, False, False

    def grow(self, size: int) -> None:
        """Have `size` from now on. Raises `Overloaded`."""
        self._places.change(self, size)

    def waits(self) -> None:
        """The call waits for its peer from now on."""
        self._places.mark(self, waits=True)

    def goes_on(self) -> None:
        """The call is at work from now on."""
        self._places.mark(self, waits=False)

    def release(self) -> None:
        """Have nothing any more. May be called again."""
        self.goes_on()
        self._places.change(self, 0)
