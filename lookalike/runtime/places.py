"""A bounded number of places (calls, connections, bytes). A peer that keeps the server waiting loses its place to others.

A server takes a place for each arrival, and says whose turn it is: the server's (`goes_on`) or the peer's (`waits`). Where all
places are taken, the holder that has waited longest for its peer gives up its place, once it has waited for `patience_s`. So
only silent peers pay for silence; a place at work is never taken away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lookalike.errors import Overloaded

Clock = Callable[[], float]


class Places:
    """At most `limit` places. Thread-safe. `refusal` is the error that a caller gets when no place is free.

    `end` of a holder, which gives up its place, is called in the thread that needs the place or that calls `end_overdue`.
    """

    def __init__(self, limit: int, refusal: str, *, patience_s: float = 1.0, clock: Clock = time.monotonic) -> None:
        self.limit, self.held = limit, 0
        self._refusal, self._patience_s, self._clock = refusal, patience_s, clock
        self._waiting: dict[Place, float] = {}
        """The time from which each holder waits for its peer, in seconds of the clock; the longest wait first."""
        self._lock = threading.Lock()

    def take(self, end: Callable[[], None], size: int = 1) -> Place:
        """Take a place of `size`, at work from now on. Raises `Overloaded`."""
        place = Place(self, end)
        self.change(place, size)
        return place

    def change(self, place: Place, size: int) -> None:
        """Change `place` to `size`. Raises `Overloaded`, and leaves the place as it was."""
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
        """The number of holders that have waited for their peers for at least `since_s`."""
        with self._lock:
            until = self._clock() - since_s
            return sum(1 for since in self._waiting.values() if since <= until)

    def end_overdue(self, longest_s: float) -> None:
        """End the holders that have waited for their peers for `longest_s`."""
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
        """The holders that give up their places for `more`; their places are free already."""
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
    """The place of a holder. `ended`: another holder has it, or (`overdue`) the peer was silent for too long."""

    __slots__ = ("_places", "end", "ended", "overdue", "size")

    def __init__(self, places: Places, end: Callable[[], None]) -> None:
        self._places, self.end, self.size, self.ended, self.overdue = places, end, 0, False, False

    def grow(self, size: int) -> None:
        """Change to `size`. Raises `Overloaded`."""
        self._places.change(self, size)

    def waits(self) -> None:
        """The call waits for its peer from now on."""
        self._places.mark(self, waits=True)

    def goes_on(self) -> None:
        """The call is at work from now on."""
        self._places.mark(self, waits=False)

    def release(self) -> None:
        """Release the place. May be called again."""
        self.goes_on()
        self._places.change(self, 0)
