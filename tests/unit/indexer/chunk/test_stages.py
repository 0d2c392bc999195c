"""Where the time of a chunk is counted to."""

from __future__ import annotations

import pytest

from indexer.chunk.stages import Stages


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("indexer.chunk.stages.time.perf_counter", lambda: now[0])
    return now


def test_time_within_another_stage_counts_once(clock: list[float]) -> None:
    stages = Stages()
    with stages.of("write"):
        clock[0] += 1
        with stages.of("wait"):
            clock[0] += 10
            with stages.of("read"):
                clock[0] += 100
        with stages.of("read"):
            clock[0] += 200
        clock[0] += 1
    with stages.of("write"):
        clock[0] += 3
    assert stages.seconds == {"write": 5, "wait": 10, "read": 300}


def test_what_was_waited_for_the_embedder_is_split_as_it_split_its_calls(clock: list[float]) -> None:
    stages = Stages()
    with stages.of("embed"):
        clock[0] += 10
    assert stages.seconds == {"embed": 10}, "an embedder that does not say"
    stages.embedder_took(2.0, 20.0)
    stages.embedder_took(4.0, 4.0)
    assert stages.seconds == pytest.approx({"decode": 2, "embed": 8})
