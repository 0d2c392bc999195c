"""Two generations of one collection: what is written in which order, and every step of a re-embedding, once and again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lookalike.errors import FailedPrecondition, Internal
from lookalike.records.collection import Collection, GenerationState
from lookalike.spaces import HistogramSettings, Metric, Space
from lookalike.store.generations import (
    begun,
    rolled_back,
    switched,
    without_filled_by,
    without_overdue,
    without_previous,
)
from lookalike.store.milvus.entries import from_entry, to_entry

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
HISTOGRAM = HistogramSettings(bins=8).space
OLD = Space("siamese", 4, Metric.COSINE, "1" * 16)
NEW = Space("siamese", 6, Metric.COSINE, "2" * 16)
ONE = Collection("things", "uid", "", "small", HistogramSettings(bins=8), (HISTOGRAM, OLD), 1, NOW)
FILLING = begun(ONE, "job", "large", (HISTOGRAM, NEW))
SWITCHED = switched(FILLING, "job", LATER)


def test_a_space_of_the_same_fingerprint_is_shared_and_the_last_spaces_come_last() -> None:
    assert ONE.written == (HISTOGRAM, OLD)
    assert FILLING.other_spaces == (NEW,)
    assert FILLING.written == (HISTOGRAM, NEW, OLD)
    assert SWITCHED.written == (HISTOGRAM, OLD, NEW)
    counted_anew = replace(HISTOGRAM, fingerprint="3" * 16)
    assert begun(ONE, "job", "small", (counted_anew, OLD)).written == (counted_anew, HISTOGRAM, OLD)
    assert begun(ONE, "job", "large", (counted_anew, NEW)).written == (counted_anew, HISTOGRAM, NEW, OLD)


def test_the_other_generation_can_be_read_by_itself() -> None:
    other = FILLING.as_other()
    assert (other.model, other.spaces, other.generation, other.other) == ("large", (HISTOGRAM, NEW), 2, None)
    assert other.physical("siamese") == "things__siamese__22222222"
    assert other.physical("histogram") == FILLING.physical("histogram")
    with pytest.raises(Internal):
        ONE.as_other()


@pytest.mark.parametrize("collection", [ONE, FILLING, SWITCHED])
def test_an_entry_comes_back_as_it_went_in(collection: Collection) -> None:
    entry = json.loads(json.dumps(to_entry(collection)))
    assert from_entry(collection.name, collection.uid, entry) == collection


def test_an_entry_says_by_its_format_that_it_has_two_generations() -> None:
    assert [to_entry(one)["format"] for one in (ONE, FILLING)] == [1, 2]


def test_a_switch_and_a_way_back_change_places_and_nothing_else() -> None:
    assert (SWITCHED.model, SWITCHED.spaces, SWITCHED.generation) == ("large", (HISTOGRAM, NEW), 2)
    assert SWITCHED.other is not None
    assert (SWITCHED.other.generation, SWITCHED.other.spaces, SWITCHED.other.model) == (1, (HISTOGRAM, OLD), "small")
    assert (SWITCHED.other.state, SWITCHED.other.drop_time) == (GenerationState.PREVIOUS, LATER)
    back = rolled_back(SWITCHED, NOW)
    assert replace(back, other=None) == ONE
    assert rolled_back(back, NOW) == SWITCHED


def test_a_way_back_keeps_what_it_leaves_for_as_long_as_a_search_may_read_it() -> None:
    back = rolled_back(SWITCHED, LATER + timedelta(seconds=1))
    assert back.other is not None
    assert back.other.drop_time == LATER + timedelta(seconds=31)


def test_every_step_may_be_done_again() -> None:
    assert begun(FILLING, "job", "large", (HISTOGRAM, NEW)) == FILLING
    assert switched(SWITCHED, "job", LATER + timedelta(days=1)) == SWITCHED
    assert without_filled_by(FILLING, "job") == without_filled_by(ONE, "job") == ONE
    assert without_filled_by(SWITCHED, "job") == SWITCHED
    assert without_filled_by(FILLING, "another job") == FILLING


def test_what_was_before_goes_when_its_grace_is_over() -> None:
    assert without_overdue(SWITCHED, LATER - timedelta(seconds=1)) == SWITCHED
    assert without_overdue(SWITCHED, LATER) == without_previous(SWITCHED) == replace(SWITCHED, other=None)
    assert without_overdue(FILLING, LATER) == FILLING


@pytest.mark.parametrize(
    ("collection", "spaces", "reason"),
    [
        (FILLING, (HISTOGRAM, NEW), "REEMBED_UNDER_WAY"),
        (SWITCHED, (HISTOGRAM, OLD), "PREVIOUS_GENERATION_KEPT"),
        (ONE, (HISTOGRAM, OLD), "REEMBED_NOT_NEEDED"),
        (ONE, (NEW,), "SPACES_DIFFER"),
        (ONE, (HISTOGRAM, replace(NEW, fingerprint="1" * 15 + "2")), "FINGERPRINTS_COLLIDE"),
    ],
)
def test_what_cannot_be_begun_is_refused_with_its_reason(
    collection: Collection, spaces: tuple[Space, ...], reason: str
) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        begun(collection, "second job", "large", spaces)
    assert refused.value.reason == reason


def test_there_is_no_switch_to_what_nobody_filled_and_no_way_back_to_nothing() -> None:
    for step in (lambda: switched(ONE, "job", LATER), lambda: switched(FILLING, "another job", LATER)):
        with pytest.raises(FailedPrecondition, match="fills"):
            step()  # type: ignore[no-untyped-call]
    for collection in (ONE, FILLING):
        for refused in (lambda one: rolled_back(one, NOW), without_previous):
            with pytest.raises(FailedPrecondition, match="keeps no previous generation"):
                refused(collection)
