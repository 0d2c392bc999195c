"""Refusals come before anybody waits for long, and those who are refused come back when there is room for them."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

import pytest

from embedder.pictures.waiting import Lane
from embedder.serving.admission import _LOOK_S, LONGEST_RETRY_S, SHORTEST_RETRY_S, Admission, Door, Limits, Turns
from lookalike.errors import Overloaded

ITEM_S = 0.002


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_is_asked_to_come_back_as_fast_as_pictures_are_computed(clock: Clock) -> None:
    turns = Turns(clock)
    advice = [turns.next_s(1, 256, ITEM_S) for _ in range(500)]
    assert advice[0] == pytest.approx(257 * ITEM_S)
    assert advice[-1] == pytest.approx(756 * ITEM_S)


def test_callers_who_are_refused_in_their_turn_are_asked_to_stay_away_longer(clock: Clock) -> None:
    turns = Turns(clock)
    due = sorted(clock.now_s + turns.next_s(1, 256, ITEM_S) for _ in range(744))
    refusals = []
    for _ in range(4000):  # all places are taken by others: each comes in turn, and is refused again
        clock.now_s = max(clock.now_s, due.pop(0))
        refusals.append(clock.now_s)
        due.append(clock.now_s + turns.next_s(1, 256, ITEM_S))
        due.sort()
    lasted_s = refusals[-1] - refusals[-1000]
    assert 1000 / lasted_s <= 1.1 * 744 / LONGEST_RETRY_S, "nobody comes more often than every ten seconds"


def test_turns_are_frequent_again_when_those_who_come_find_room(clock: Clock) -> None:
    turns = Turns(clock)
    for _ in range(200):  # refused in turn, again and again
        clock.now_s += turns.next_s(1, 0, ITEM_S)
    assert turns.next_s(1, 0, ITEM_S) == pytest.approx(1.0)
    for _ in range(3):  # bursts of which nobody is refused a second time
        burst = [turns.next_s(1, 0, ITEM_S) for _ in range(100)]
        clock.now_s += 2 * LONGEST_RETRY_S
    assert burst[0] == SHORTEST_RETRY_S
    assert burst[-1] == pytest.approx(100 * ITEM_S)


def test_the_time_at_the_door_is_known_of_each_call_by_the_order_in_which_they_are_taken_in(clock: Clock) -> None:
    waiting = [5]
    door = Door(lambda: waiting[0], clock)
    door.take_in(inside=4)  # a look: five more have arrived by now
    clock.now_s += 2.0
    waiting[0] = 3
    stood = []
    for _ in range(8):
        door.take_in(inside=4)
        stood.append(door.stood_s)
        clock.now_s += 0.01
    assert stood[:3] == pytest.approx([2.0, 2.01, 2.02])
    assert stood[3] == pytest.approx(2.03), "three stood there at the second look, two of them since the first"
    assert stood[4:] == [0.0] * 4, "and those who came later have not been seen to wait"


def test_calls_that_go_away_from_the_door_leave_no_time_to_those_who_follow(clock: Clock) -> None:
    waiting = [500]
    door = Door(lambda: waiting[0], clock)
    door.take_in(inside=4)
    clock.now_s += 1.0
    waiting[0] = 0
    door.take_in(inside=4)
    door.take_in(inside=4)
    assert door.stood_s == 0.0


def test_a_lone_call_does_not_look_at_the_door(clock: Clock) -> None:
    looks: list[int] = []
    door = Door(lambda: len(looks.append(1) or looks), clock)
    for _ in range(10):
        assert not door.take_in(inside=0)
        clock.now_s += 1.0
    assert looks == []


@dataclass
class Server:
    """A server in the time of a clock: takes a call in every `take_in_s`, and computes batches of 32 at `item_s` a picture."""

    clock: Clock
    take_in_s: float
    item_s: float
    limits: Limits
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)

    def run(self, callers: int, for_s: float) -> None:
        """All callers come at once. An answered caller comes again at once, a refused one when its refusal says."""
        places = Admission(self.limits)
        door: deque[float] = deque()  # when each of those who stand there came
        queue: deque[float] = deque()
        places.door = Door(lambda: len(door), self.clock)
        begun_s = self.clock.now_s
        coming = [begun_s] * callers
        computing: list[float] = []
        done_s, batch_s = 0.0, 32 * self.item_s
        while self.clock.now_s < begun_s + for_s:
            now_s = self.clock.now_s
            while coming and coming[0] <= now_s:
                door.append(heapq.heappop(coming))
            if computing and now_s >= done_s:
                for came_s in computing:
                    places.leave(Lane.INTERACTIVE, 1, 1)
                    self.accepted_s.append(now_s - came_s)
                    heapq.heappush(coming, now_s)
                computing = []
            if not computing and queue:
                computing = [queue.popleft() for _ in range(min(32, len(queue)))]
                done_s = now_s + batch_s
            if door:
                came_s = door.popleft()
                back_s = self._refused_for_s(places)
                if back_s is None:
                    queue.append(came_s)
                else:
                    self.refused_s.append(now_s - came_s)
                    heapq.heappush(coming, now_s + back_s)
            self.clock.now_s += self.take_in_s

    def _refused_for_s(self, places: Admission) -> float | None:
        try:
            places.enter(Lane.INTERACTIVE, 1, 1, self.item_s, self.item_s)
        except Overloaded as refusal:
            return refusal.retry_after_s
        return None


@pytest.mark.parametrize("item_s", [0.0005, 0.002, 0.008, 0.03])
@pytest.mark.parametrize("take_in_s", [0.0002, 0.001, 0.004])
def test_admitted_calls_of_an_overload_wait_no_longer_than_in_a_full_queue_on_any_machine(
    clock: Clock, take_in_s: float, item_s: float
) -> None:
    server = Server(clock, take_in_s, item_s, Limits(queue_items=256, queue_calls=256))
    server.run(callers=1000, for_s=20.0)
    full_s = 256 * max(item_s, take_in_s)
    p99_s = sorted(server.accepted_s)[int(0.99 * len(server.accepted_s))]
    assert p99_s <= 1.25 * full_s + _LOOK_S, "what happens between two looks is not seen"
    # A refusal is taken in like any other call, so that a server which does little more than that can do less for the others.
    share = 0.8 if item_s > take_in_s else 0.4
    assert len(server.accepted_s) >= share * 20.0 / max(item_s, take_in_s), "the machine is kept busy"
    assert server.refused_s


@pytest.mark.parametrize("item_s", [0.0005, 0.002, 0.008])
def test_as_many_callers_as_have_places_are_all_let_in(clock: Clock, item_s: float) -> None:
    server = Server(clock, 0.0005, item_s, Limits(queue_items=256, queue_calls=256))
    server.run(callers=256, for_s=10.0)
    assert server.refused_s == []


def test_a_lone_call_after_an_overload_is_let_in(clock: Clock) -> None:
    places = Admission(Limits(queue_calls=8))
    for _ in range(8):
        places.enter(Lane.INTERACTIVE, 1, 1, ITEM_S, ITEM_S)
    with pytest.raises(Overloaded, match=r"the embedder's interactive queue is full \(8 pictures of 8 calls\)"):
        places.enter(Lane.INTERACTIVE, 1, 1, ITEM_S, ITEM_S)
    for _ in range(8):
        places.leave(Lane.INTERACTIVE, 1, 1)
    places.enter(Lane.INTERACTIVE, 1, 1, 100.0, ITEM_S)  # however long a picture takes now


def test_what_would_be_answered_too_late_is_refused_while_calls_are_more_than_places(clock: Clock) -> None:
    places = Admission(Limits(queue_calls=8))
    places.door = Door(lambda: 14, clock)
    for _ in range(4):
        places.enter(Lane.INTERACTIVE, 1, 1, 0.05, 0.05)
    clock.now_s += 0.21  # they have stood there for as long as four calls take
    with pytest.raises(Overloaded, match="too much to do: 14 calls at its door, 4 pictures in its interactive queue"):
        places.enter(Lane.INTERACTIVE, 1, 1, 0.05, 0.05)
