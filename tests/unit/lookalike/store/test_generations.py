"""Two generations of one collection: what is written in which order, and every step of a re-embedding, once and again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lookalike.errors import FailedPrecondition, Internal, InvalidArgument, NotFound
from lookalike.records.collection import NO_DEFAULTS, Collection, CollectionDefaults, GenerationState
from lookalike.spaces import HistogramSettings, Metric, ModelSettings, Space
from lookalike.store.generations import (
    begun,
    rolled_back,
    specs_to_make,
    switched,
    without_filled_by,
    without_overdue,
    without_previous,
)
from lookalike.store.milvus.entries import from_entry, to_entry

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
HISTOGRAM = HistogramSettings(bins=8).space()
OLD = Space("siamese", 4, Metric.COSINE, "1" * 16, ModelSettings("small"))
NEW = Space("siamese", 6, Metric.COSINE, "2" * 16, ModelSettings("larger"))
DEFAULTS = CollectionDefaults(("histogram", "siamese"), {"siamese": 2.0}, 128)
ONE = Collection("things", "uid", "", (HISTOGRAM, OLD), 1, NOW, defaults=DEFAULTS)
FILLING = begun(ONE, "job", (HISTOGRAM, NEW))
SWITCHED = switched(FILLING, "job", LATER)


def test_a_space_of_the_same_fingerprint_is_shared_and_the_last_spaces_come_last() -> None:
    assert ONE.written == (HISTOGRAM, OLD)
    assert FILLING.other_spaces == (NEW,)
    assert FILLING.written == (HISTOGRAM, NEW, OLD)
    assert SWITCHED.written == (HISTOGRAM, OLD, NEW)
    counted_anew = replace(HISTOGRAM, fingerprint="3" * 16)
    counting = begun(ONE, "job", (counted_anew, OLD))
    assert counting.written == (HISTOGRAM, counted_anew, OLD)
    assert counting.as_other().last == counted_anew, "what both generations share does not say what is missing in the new one"
    assert begun(ONE, "job", (counted_anew, NEW)).written == (counted_anew, HISTOGRAM, NEW, OLD)


def test_the_defaults_of_searches_outlive_every_step() -> None:
    for step in (FILLING, SWITCHED, rolled_back(SWITCHED, NOW), without_previous(SWITCHED), without_overdue(SWITCHED, LATER)):
        assert step.defaults == DEFAULTS


def test_the_other_generation_can_be_read_by_itself() -> None:
    other = FILLING.as_other()
    assert (other.spaces, other.generation, other.other) == ((HISTOGRAM, NEW), 2, None)
    assert other.physical("siamese") == "things__siamese__22222222"
    assert other.physical("histogram") == FILLING.physical("histogram")
    with pytest.raises(Internal):
        ONE.as_other()


@pytest.mark.parametrize("collection", [ONE, FILLING, SWITCHED])
def test_an_entry_comes_back_as_it_went_in(collection: Collection) -> None:
    entry = json.loads(json.dumps(to_entry(collection)))
    assert from_entry(collection.name, collection.uid, entry) == collection


OLD_ENTRY: dict[str, object] = {
    "format": 1,
    "description": "",
    "model": "small",
    "histogram": {"bins": 8, "grid": 1, "color": False},
    "spaces": [
        {"name": "histogram", "dimension": 8, "metric": "L2", "fingerprint": HISTOGRAM.fingerprint},
        {"name": "siamese", "dimension": 4, "metric": "COSINE", "fingerprint": "1" * 16},
    ],
    "generation": 1,
    "created_at": "2026-01-31T12:00:00+00:00",
}
"""As 0.1 wrote `ONE`."""
OLD_OTHER: dict[str, object] = {
    "generation": 2,
    "model": "larger",
    "spaces": [
        {"name": "histogram", "dimension": 8, "metric": "L2", "fingerprint": HISTOGRAM.fingerprint},
        {"name": "siamese", "dimension": 6, "metric": "COSINE", "fingerprint": "2" * 16},
    ],
    "state": "filling",
    "job_id": "job",
    "drop_at": None,
}
"""As 0.1 wrote the other generation of `FILLING`."""


@pytest.mark.parametrize(
    ("entry", "collection"),
    [(OLD_ENTRY, ONE), (OLD_ENTRY | {"format": 2, "other": OLD_OTHER}, FILLING)],
    ids=["one generation", "two generations"],
)
def test_an_entry_of_0_1_is_read_and_written_in_the_format_of_today(entry: dict[str, object], collection: Collection) -> None:
    found = from_entry("things", "uid", entry)
    assert (found.spaces, found.written) == (collection.spaces, collection.written)
    assert found.other is None or found.other.spaces == (HISTOGRAM, NEW)
    assert found.defaults == NO_DEFAULTS
    written = to_entry(found)
    assert written["format"] not in (1, 2), "programs that know two spaces only must not read it"
    assert from_entry("things", "uid", written) == found


PHOTO, FASHION = (
    Space(name, 4, Metric.COSINE, number * 16, ModelSettings(name)) for name, number in (("photo", "4"), ("fashion", "5"))
)
THREE = Collection("things", "uid", "", (HISTOGRAM, PHOTO, FASHION), 1, NOW)
NEWER = replace(PHOTO, fingerprint="6" * 16)


def test_a_space_in_the_middle_is_made_anew_and_then_written_last() -> None:
    filling = begun(THREE, "job", (HISTOGRAM, NEWER, FASHION))
    assert filling.other_spaces == (NEWER,)
    assert filling.written == (HISTOGRAM, PHOTO, NEWER, FASHION)
    assert (filling.last, filling.as_other().last) == (FASHION, NEWER)
    switched_ = switched(filling, "job", LATER)
    assert switched_.spaces == (HISTOGRAM, NEWER, FASHION), "the order of the spaces stays"
    assert switched_.written == (PHOTO, HISTOGRAM, FASHION, NEWER)
    assert replace(rolled_back(switched_, NOW), other=None) == THREE
    alone = without_previous(switched_)
    assert alone.written == (HISTOGRAM, FASHION, NEWER), "an image that the new space does not have is not in the collection"
    both = begun(alone, "job 2", (HISTOGRAM, replace(NEWER, fingerprint="7" * 16), replace(FASHION, fingerprint="8" * 16)))
    assert both.as_other().last.name == "photo"
    assert from_entry("things", "uid", to_entry(both)) == both


def test_one_version_under_two_names_is_one_version() -> None:
    renamed = replace(OLD, kind=ModelSettings("another"))
    with pytest.raises(FailedPrecondition, match="already has the version"):
        begun(ONE, "job", (HISTOGRAM, renamed))
    counted_anew = replace(HISTOGRAM, fingerprint="3" * 16)
    assert begun(ONE, "job", (counted_anew, renamed)).as_other().spaces == (counted_anew, OLD)


@pytest.mark.parametrize(
    ("collection", "space", "model", "asked"),
    [
        (THREE, "", "", {"histogram": "", "photo": "photo", "fashion": "fashion"}),
        (THREE, "photo", "", {"photo": "photo"}),
        (THREE, "photo", "mine", {"photo": "mine"}),
        (THREE, "histogram", "", {"histogram": ""}),
        (ONE, "", "mine", {"histogram": "", "siamese": "mine"}),
    ],
)
def test_a_re_embedding_asks_for_the_spaces_that_it_makes_anew(
    collection: Collection, space: str, model: str, asked: dict[str, str]
) -> None:
    specs = specs_to_make(collection, space, model)
    assert {spec.name: spec.kind.name if isinstance(spec.kind, ModelSettings) else "" for spec in specs} == asked


@pytest.mark.parametrize(
    ("collection", "space", "model", "field"),
    [
        (THREE, "", "mine", "space"),
        (THREE, "siamese", "", "space"),
        (THREE, "histogram", "mine", "model"),
        (replace(ONE, spaces=(HISTOGRAM,)), "", "mine", "model"),
    ],
)
def test_a_re_embedding_of_no_space_is_refused_by_its_field(collection: Collection, space: str, model: str, field: str) -> None:
    with pytest.raises((InvalidArgument, NotFound)) as refused:
        specs_to_make(collection, space, model)
    assert refused.value.field == field


def test_a_search_that_names_no_space_takes_the_siamese_one_else_the_first_of_a_model_else_the_first() -> None:
    for spaces, default in (
        ((HISTOGRAM, OLD), OLD),
        ((HISTOGRAM, PHOTO, FASHION), PHOTO),
        ((HISTOGRAM,), HISTOGRAM),
        ((PHOTO, OLD), OLD),
    ):
        assert replace(ONE, spaces=spaces).default_space == default


def test_a_switch_and_a_way_back_change_places_and_nothing_else() -> None:
    assert (SWITCHED.spaces, SWITCHED.generation) == ((HISTOGRAM, NEW), 2)
    assert SWITCHED.other is not None
    assert (SWITCHED.other.generation, SWITCHED.other.spaces) == (1, (HISTOGRAM, OLD))
    assert (SWITCHED.other.state, SWITCHED.other.drop_time) == (GenerationState.PREVIOUS, LATER)
    back = rolled_back(SWITCHED, NOW)
    assert replace(back, other=None) == ONE
    assert rolled_back(back, NOW) == SWITCHED


def test_a_way_back_keeps_what_it_leaves_for_as_long_as_a_search_may_read_it() -> None:
    back = rolled_back(SWITCHED, LATER + timedelta(seconds=1))
    assert back.other is not None
    assert back.other.drop_time == LATER + timedelta(seconds=31)


def test_every_step_may_be_done_again() -> None:
    assert begun(FILLING, "job", (HISTOGRAM, NEW)) == FILLING
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
        begun(collection, "second job", spaces)
    assert refused.value.reason == reason


def test_there_is_no_switch_to_what_nobody_filled_and_no_way_back_to_nothing() -> None:
    for step in (lambda: switched(ONE, "job", LATER), lambda: switched(FILLING, "another job", LATER)):
        with pytest.raises(FailedPrecondition, match="fills"):
            step()  # type: ignore[no-untyped-call]
    for collection in (ONE, FILLING):
        for refused in (lambda one: rolled_back(one, NOW), without_previous):
            with pytest.raises(FailedPrecondition, match="keeps no previous generation"):
                refused(collection)
