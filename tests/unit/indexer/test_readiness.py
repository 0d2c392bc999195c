"""A worker waits for what is away, says so once, and shows what it lacks in its health and metrics."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from indexer import readiness
from indexer.readiness import Readiness
from lookalike.errors import FailedPrecondition, Unavailable
from lookalike.jobs.connection import RedisAccessDenied


class Health:
    def __init__(self) -> None:
        self.shown: list[bool] = []

    def set_ready(self, ready: bool) -> None:
        self.shown.append(ready)


def up(dependency: str) -> float | None:
    return REGISTRY.get_sample_value("lookalike_dependency_up", {"dependency": dependency})


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(readiness, "_LONGEST_WAIT_S", 0.002)


@pytest.mark.parametrize(
    "error",
    [Unavailable("redis", "connection refused"), RedisAccessDenied("redis", "it refuses")],
    ids=["away", "password refused"],
)
def test_what_is_away_is_waited_for_and_logged_once(error: Exception) -> None:
    seen: list[float | None] = []

    def connect() -> str:
        seen.append(up("redis"))
        if len(seen) < 4:
            raise error
        return "connected"

    with capture_logs() as logged:
        assert Readiness(None).patiently("redis", connect) == "connected"
    assert seen == [0.0] * 4
    assert up("redis") == 1.0
    assert [line["dependency"] for line in logged if line["event"] == "waiting"] == ["redis"]


def test_what_no_wait_fixes_is_raised() -> None:
    def connect() -> str:
        raise FailedPrecondition("this server is too old", reason="TOO_OLD")

    with pytest.raises(FailedPrecondition, match="too old"):
        Readiness(None).patiently("milvus", connect)


def test_health_and_metrics_show_what_is_missing_and_what_came_back() -> None:
    health, problem = Health(), Unavailable("milvus", "no answer")
    one = Readiness(health)

    def fails() -> None:
        raise problem

    with capture_logs() as logged:
        one.look({"redis": lambda: None, "milvus": fails})
        one.look({"redis": lambda: None, "milvus": fails})
        assert (up("redis"), up("milvus")) == (1.0, 0.0)
        one.look({"redis": lambda: None, "milvus": lambda: None})
    assert up("milvus") == 1.0
    assert health.shown == [False, False, True]
    assert [line["ready"] for line in logged] == [False, True], "each change is logged once"
    one.stop()
    one.look({"redis": lambda: None})
    assert health.shown[-1] is False, "who stops is not ready again"


def test_a_defect_in_a_check_is_a_problem_and_no_end() -> None:
    health = Health()
    with capture_logs():
        Readiness(health).look({"artifacts": lambda: 1 // 0})
    assert (health.shown, up("artifacts")) == ([False], 0.0)
