"""What a query is filled in with, and what would not fit into an answer."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.search.plan import Plan, plan
from lookalike.errors import InvalidArgument
from lookalike.records.collection import Collection, CollectionDefaults
from lookalike.records.image import GivenVector, ImageView
from lookalike.records.search import ByImage, ByVectors
from lookalike.records.search_options import SearchOptions
from lookalike.spaces import HISTOGRAM, SIAMESE, HistogramSettings
from tests.unit.gateway.fakes import COLLECTION, SPACES

WIDE = HistogramSettings(bins=256, grid=8).space()


def planned(collection: Collection = COLLECTION, **options: Any) -> Plan:
    return plan(ByImage(b"x"), SearchOptions(**options), collection)


@pytest.mark.parametrize(
    ("top_k", "spaces", "candidates", "ef"),
    [
        (5, (SIAMESE,), 5, 64),
        (100, (SIAMESE,), 100, 200),
        (5, (HISTOGRAM, SIAMESE), 50, 64),
        (100, (HISTOGRAM, SIAMESE), 400, 400),
        (1000, (HISTOGRAM, SIAMESE), 1000, 2000),
    ],
)
def test_more_is_asked_of_each_space_where_two_are_fused_and_ef_is_never_less(
    top_k: int, spaces: tuple[str, ...], candidates: int, ef: int
) -> None:
    made = planned(top_k=top_k, spaces=spaces)
    assert (made.candidates, made.ef) == (candidates, ef)


def test_a_space_that_is_named_twice_is_refused_however_many_follow() -> None:
    """Names were once compared with one another: 20,000 took 21 s."""
    started_s = time.thread_time()
    with pytest.raises(InvalidArgument, match=r"options.spaces\[1\]: 'siamese' is named more than once"):
        planned(spaces=(SIAMESE,) * 1_000_000)
    assert time.thread_time() - started_s < 0.1


def test_weights_are_shared_out_to_one() -> None:
    assert planned(spaces=(HISTOGRAM, SIAMESE), weights={SIAMESE: 3.0}).weights == (0.25, 0.75)


BOTH = (HISTOGRAM, SIAMESE)
SET = replace(COLLECTION, defaults=CollectionDefaults(BOTH, {HISTOGRAM: 1.0, SIAMESE: 3.0}, 300))


def names(made: Plan) -> tuple[str, ...]:
    return tuple(space.name for space in made.spaces)


def test_what_a_search_leaves_open_the_collection_says() -> None:
    made = planned(SET)
    assert (names(made), made.weights, made.ef) == (BOTH, (0.25, 0.75), 300)
    assert planned(SET, top_k=100).ef == 400, "never less than the candidates"
    low = planned(replace(SET, defaults=CollectionDefaults(ef=8)), top_k=5)
    assert (names(low), low.ef) == ((SIAMESE,), 8), "what was measured to be enough"


def test_what_a_search_says_itself_comes_first() -> None:
    made = planned(SET, spaces=(HISTOGRAM,), ef=64)
    assert (names(made), made.weights, made.ef) == ((HISTOGRAM,), (1.0,), 64), "a weight of another space is no mistake of its"
    assert planned(SET, weights={HISTOGRAM: 3.0}).weights == (0.75, 0.25), "a space that it does not name weighs 1"
    vectors = ByVectors((GivenVector(HISTOGRAM, np.ones(SPACES[0].dimension, np.float32)),))
    assert names(plan(vectors, SearchOptions(), SET)) == (HISTOGRAM,), "those of its vectors"


def test_vectors_that_no_message_could_carry_are_refused_before_any_work() -> None:
    wide = replace(COLLECTION, spaces=(WIDE, SPACES[1]))
    assert planned(wide, spaces=(HISTOGRAM,), top_k=1000).top_k == 1000
    with pytest.raises(InvalidArgument) as raised:
        planned(wide, spaces=(HISTOGRAM,), top_k=1000, view=ImageView.FULL)
    assert raised.value.field == "options.view"
    assert planned(wide, spaces=(HISTOGRAM,), top_k=300, view=ImageView.FULL).top_k == 300
