"""A version is found by its fingerprint or not at all, and one taken out of service is freed after its last work."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import REGISTRY

from embedder.models.bundle import Bundle
from embedder.pictures.waiting import Lane
from embedder.serving.admission import Limits
from embedder.serving.batcher import Batcher
from embedder.serving.spaces import Embedded, ToShow, Work
from embedder.serving.versions import Served, Serving, Unserved, build_served
from lookalike.errors import FingerprintMismatch, InvalidArgument, LookalikeError, NotFound, Unavailable
from tests.servers.embedder import random_bundle, warm_spaces

FIRST, SECOND, THIRD = "1" * 16, "2" * 16, "3" * 16


def a_version(name: str, fingerprint: str) -> Served:
    """Nothing is computed with it."""
    bundle = random_bundle("small")
    return Served(Bundle(name, bundle.tower, bundle.input, ()), fingerprint, None)  # type: ignore[arg-type]


def raised(call: Callable[[], object]) -> LookalikeError:
    with pytest.raises(LookalikeError) as caught:
        call()
    return caught.value


def listed(serving: Serving) -> list[tuple[str, str, bool]]:
    return [(*one.key, current) for one, current in serving]


def test_a_name_means_its_current_version_and_a_fingerprint_means_itself() -> None:
    photo, fashion = a_version("photo", FIRST), a_version("fashion", SECOND)
    serving = Serving([photo, fashion])
    assert serving.default == "photo"
    assert serving.find("fashion") is fashion
    assert serving.find("fashion", SECOND) is fashion
    newer = a_version("fashion", THIRD)
    serving.add(newer)
    assert serving.find("fashion") is fashion
    assert serving.find("fashion", THIRD) is newer
    assert serving.switch(newer.key)
    assert not serving.switch(newer.key)
    assert (serving.find("fashion"), serving.find("fashion", SECOND)) == (newer, fashion)
    assert listed(serving) == [("photo", FIRST, True), ("fashion", THIRD, True), ("fashion", SECOND, False)]


def test_a_version_that_is_not_served_is_never_another_one() -> None:
    serving = Serving([a_version("photo", FIRST), a_version("fashion", SECOND)])
    error = raised(lambda: serving.find("photo", SECOND))
    assert isinstance(error, FingerprintMismatch)
    assert error.metadata == {"space": "siamese", "expected": SECOND, "actual": FIRST}
    unknown = raised(lambda: serving.find("hats", FIRST))
    assert isinstance(unknown, NotFound)
    assert "photo, fashion" in unknown.message


def test_a_version_that_ought_to_be_served_is_unavailable_until_it_is() -> None:
    serving = Serving([a_version("photo", FIRST)], complete=False)
    assert isinstance(raised(lambda: serving.find("photo", SECOND)), Unavailable), "nobody knows yet what the registry holds"
    loading = Unserved("LOADING", "is being loaded")
    serving.expect({("photo", SECOND): loading, ("hats", THIRD): loading})
    for asked in (("photo", SECOND), ("hats", THIRD), ("hats", "")):
        error = raised(lambda asked=asked: serving.find(*asked))  # type: ignore[misc]
        assert isinstance(error, Unavailable)
        assert "is being loaded" in error.message
    serving.add(a_version("photo", SECOND))
    assert serving.find("photo", SECOND).key == ("photo", SECOND)
    assert isinstance(raised(lambda: serving.find("photo", THIRD)), FingerprintMismatch)


def test_before_a_version_is_refused_somebody_looks_whether_it_has_come() -> None:
    serving = Serving([a_version("photo", FIRST)])
    looks: list[bool] = []

    def look(can_say: bool = True) -> bool:
        looks.append(can_say)
        if len(looks) == 2:
            serving.add(a_version("photo", SECOND))
        return can_say

    serving.look_before_refusing(look)
    assert isinstance(raised(lambda: serving.find("photo", SECOND)), FingerprintMismatch)
    assert serving.find("photo", SECOND).key == ("photo", SECOND)
    serving.find("photo")
    assert len(looks) == 2, "nobody looks for what is there"
    serving.look_before_refusing(lambda: look(can_say=False))
    assert isinstance(raised(lambda: serving.find("photo", THIRD)), Unavailable)


def test_what_a_name_means_and_what_is_always_served_stay() -> None:
    fixed, newer, newest = a_version("photo", FIRST), a_version("photo", SECOND), a_version("photo", THIRD)
    serving = Serving([fixed])
    for one in (newer, newest):
        serving.add(one)
        serving.switch(one.key)
    assert not serving.drop(newest.key)
    assert not serving.drop(fixed.key)
    assert serving.drop(newer.key)
    assert not serving.drop(newer.key)
    assert newer.key not in serving
    assert listed(serving) == [("photo", THIRD, True), ("photo", FIRST, False)]


def test_the_metric_shows_what_is_served_and_what_names_mean() -> None:
    serving = Serving([a_version("metered", FIRST)])
    newer = a_version("metered", SECOND)
    serving.add(newer)
    serving.switch(newer.key)

    def value(fingerprint: str, current: str) -> float | None:
        labels = {"model": "metered", "fingerprint": fingerprint, "current": current}
        return REGISTRY.get_sample_value("lookalike_embedder_model_info", labels)

    assert (value(FIRST, "no"), value(SECOND, "yes")) == (1, 1)
    assert (value(FIRST, "yes"), value(SECOND, "no")) == (None, None)


def test_a_version_taken_out_of_service_answers_what_waits_for_it_and_is_then_freed() -> None:
    small, other = random_bundle("small"), random_bundle("other")
    served = build_served(small, 2)
    serving = Serving([build_served(other, 2)])
    serving.add(served)
    gone = weakref.ref(served.traced)
    key = served.key
    expected = warm_spaces().compute([Work((ToShow(served.traced, picture(n)),)) for n in (1, 2)])

    def compute(works: list[Work]) -> list[Embedded]:
        if key in serving:
            assert serving.drop(key), "taken out of service while this batch runs and the next one waits"
        made: list[Embedded] = warm_spaces().compute(works)
        return made

    batcher: Batcher[Work, Embedded] = Batcher(compute, lambda work: work.size_bytes, Limits(batch_items=1))  # type: ignore[arg-type]
    try:
        with batcher.place(Lane.BULK, items=2, size_bytes=1) as place:
            works = [Work((ToShow(served.traced, picture(n)),)) for n in (1, 2)]
            del served
            made = place.run(works, deadline_s=time.monotonic() + 30)
            del works, place
        np.testing.assert_allclose(made, expected, atol=1e-6)  # type: ignore[arg-type]
        gc.collect()
        assert gone() is None
    finally:
        batcher.close(5.0)


def test_a_tower_that_sees_more_than_is_decoded_or_does_not_fit_is_refused() -> None:
    small = random_bundle("small")
    with pytest.raises(InvalidArgument, match="512"):
        build_served(replace(small, tower=replace(small.tower, input_size=516)), 1)
    with pytest.raises(InvalidArgument, match="do not fit"):
        build_served(replace(small, weights=small.weights[1:]), 1)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (16, 16, 1), np.uint8)
