"""Refusals come before anybody waits for long, and those who are refused come back when there is room for them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from embedder.pictures.waiting import Lane
from embedder.serving.admission import LEAST_RETRY_S, LONGEST_RETRY_S, Admission, Door, Limits, Turns
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
    assert burst[0] == LEAST_RETRY_S
    assert burst[-1] == pytest.approx(100 * ITEM_S)


def test_a_crowd_that_stands_at_the_door_is_refused_down_to_what_the_queue_takes(clock: Clock) -> None:
    arrived = 500
    door = Door(lambda: arrived, clock)
    refused = 0
    for _ in range(20):
        if door.crowded(inside=4, room=256):
            refused += 1
            arrived -= 1
        clock.now_s += 0.1
    assert refused == 15, "none in the first half second, then one in each look"
    for _ in range(1000):
        if door.crowded(inside=4, room=256):
            arrived -= 1
        clock.now_s += 0.001
    assert arrived == 260


def test_a_burst_at_the_door_is_let_in(clock: Clock) -> None:
    counts = [800, 500, 200, 0, 0, 0, 700, 300, 0]
    door = Door(lambda: counts[0], clock)
    while counts:
        assert not door.crowded(inside=4, room=100)
        counts = counts[1:]
        clock.now_s += 0.15


def test_a_lone_call_does_not_look_at_the_door(clock: Clock) -> None:
    looks: list[int] = []
    door = Door(lambda: len(looks.append(1) or looks), clock)  # type: ignore[func-returns-value]
    for _ in range(10):
        assert not door.crowded(inside=0, room=1)
        clock.now_s += 1.0
    assert looks == []


def test_those_at_the_door_count_as_in_the_queue(clock: Clock) -> None:
    places = Admission(Limits(queue_calls=8))
    places.door = Door(lambda: 14, clock)
    for _ in range(6):
        places.enter(Lane.INTERACTIVE, 1, 1, ITEM_S)
    for _ in range(5):
        places.enter(Lane.INTERACTIVE, 1, 1, ITEM_S)
        places.leave(Lane.INTERACTIVE, 1, 1)
        clock.now_s += 0.11
    with pytest.raises(Overloaded, match="8 calls wait at the embedder's door"):
        places.enter(Lane.INTERACTIVE, 1, 1, ITEM_S)
