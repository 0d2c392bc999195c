"""Places that a silent peer cannot hold against others."""

from __future__ import annotations

import pytest

from lookalike.errors import Overloaded
from lookalike.runtime.places import Place, Places

PATIENCE_S = 1.0


class World:
    """Places with a clock of their own, and who was ended."""

    def __init__(self, limit: int) -> None:
        self.now_s = 100.0
        self.places = Places(limit, "all is taken", patience_s=PATIENCE_S, clock=lambda: self.now_s)
        self.ended: list[str] = []

    def take(self, name: str, size: int = 1, *, waits: bool = False) -> Place:
        place = self.places.take(lambda: self.ended.append(name), size)
        if waits:
            place.waits()
        return place


def test_what_is_at_work_keeps_its_place_and_others_are_refused() -> None:
    world = World(2)
    world.take("a")
    world.take("b")
    world.now_s += 1000
    with pytest.raises(Overloaded, match="all is taken"):
        world.take("c")
    assert (world.ended, world.places.held) == ([], 2)


def test_the_peer_that_has_been_silent_longest_makes_room() -> None:
    world = World(3)
    first, second = world.take("a", waits=True), world.take("b", waits=True)
    world.take("c")
    world.now_s += PATIENCE_S
    first.waits()  # the place was taken
    world.now_s += PATIENCE_S
    world.take("d")
    assert world.ended == ["b"]
    assert (second.ended, second.size, world.places.held) == (True, 0, 3)


def test_nobody_is_ended_before_it_was_waited_for_a_while() -> None:
    world = World(1)
    world.take("a", waits=True)
    world.now_s += PATIENCE_S / 2
    with pytest.raises(Overloaded):
        world.take("b")
    assert world.ended == []


def test_several_make_room_for_a_large_one_and_none_where_that_is_not_enough() -> None:
    world = World(10)
    for name in "abc":
        world.take(name, 2, waits=True)
    large = world.take("large", 3)
    world.now_s += PATIENCE_S
    with pytest.raises(Overloaded):
        large.grow(11)
    assert (world.ended, large.size) == ([], 3)
    large.grow(8)
    assert (world.ended, world.places.held) == (["a", "b"], 10)


def test_a_place_that_was_given_up_cannot_grow_again_and_is_released_once() -> None:
    world = World(1)
    lost = world.take("a", waits=True)
    world.now_s += PATIENCE_S
    new = world.take("b")
    lost.release()
    with pytest.raises(Overloaded):
        lost.grow(1)
    assert world.places.held == 1
    new.release()
    new.release()
    assert world.places.held == 0


def test_a_peer_that_is_waited_for_too_long_is_ended_though_no_other_needs_the_place() -> None:
    world = World(9)
    late, _working = world.take("late", waits=True), world.take("working")
    world.now_s += 30
    world.take("fresh", waits=True)
    world.places.end_overdue(30)
    assert (world.ended, late.ended, world.places.held) == (["late"], True, 2)
