"""Milvus or the embedder hangs or dies while the gateway is asked: every caller gets an error in its time, and then answers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lookalike.client import Client
from lookalike.errors import DeadlineExceeded, LookalikeError, Unavailable
from lookalike.spaces import SIAMESE
from tests.pictures.made_pictures import encoded, noise
from tests.servers.fleet import Fleet, fleet
from tests.servers.milvus import LiteServer
from tests.servers.processes import until
from tests.servers.worker import EmbedderProcess

COLLECTION = "things"
CALLERS = 40
"""More than the gateway has threads, or calls of a kind to Milvus at once."""
TIMEOUT_S, LATEST_S = 1.0, 4.0
"""What a caller allows, and when it has its answer at the latest."""
PATIENT_S = 20.0
"""What a caller allows that is to be answered, however busy the machine is."""


@pytest.fixture(scope="module")
def running(
    lite_to_stop: LiteServer, shared_embedder: EmbedderProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("outages") / "fleet", lite_to_stop.uri, workers=0, shared=shared_embedder) as parts:
        with parts.client() as client:
            until(lambda: _made(client), "the collection is made")
        yield parts


def _made(client: Client) -> bool:
    try:
        client.create_collection(COLLECTION, timeout_s=20)
    except Unavailable:
        return False
    return True


def picture(number: int) -> bytes:
    """No two alike, so that no vectors are at hand."""
    return encoded(noise(28, 28, seed=number))


def answered(client: Client) -> float:
    """Return when `CALLERS` searches at once are all answered. Gives the time by which each caller must have its answer or its
    error at the latest: `LATEST_S`, and more only where answers themselves take long, since the machine is busy."""
    rounds_s: list[float] = []

    def all_are() -> bool:
        begun_s = time.monotonic()
        outcomes = ended(by_vector(client, PATIENT_S), latest_s=2 * PATIENT_S)
        rounds_s.append(time.monotonic() - begun_s)
        return outcomes == [None] * CALLERS

    until(all_are, "searches are answered", timeout_s=60)
    return max(LATEST_S, TIMEOUT_S + 3 * rounds_s[-1])


def ended(ask: Callable[[int], object], latest_s: float) -> list[LookalikeError | None]:
    """What `CALLERS` at once end in; None: an answer. None of them may take longer than `latest_s`."""

    def one(number: int) -> LookalikeError | None:
        begun_s = time.monotonic()
        try:
            ask(number)
        except LookalikeError as error:
            return error
        finally:
            assert time.monotonic() - begun_s < latest_s
        return None

    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(one, range(CALLERS)))


def by_vector(client: Client, timeout_s: float = TIMEOUT_S) -> Callable[[int], object]:
    vector = np.ones(256, np.float32)
    return lambda number: client.search(COLLECTION, vectors={SIAMESE: vector}, timeout_s=timeout_s)


def by_picture(client: Client, first: int = 0, timeout_s: float = TIMEOUT_S) -> Callable[[int], object]:
    return lambda number: client.search(COLLECTION, image=picture(first + number), timeout_s=timeout_s)


def test_a_milvus_that_hangs_holds_nobody_longer_than_he_allows(running: Fleet, lite_to_stop: LiteServer) -> None:
    with running.client() as client:
        latest_s = answered(client)
        lite_to_stop.signal(signal.SIGSTOP)
        try:
            outcomes = ended(by_vector(client), latest_s)
        finally:
            lite_to_stop.signal(signal.SIGCONT)
        assert all(isinstance(outcome, DeadlineExceeded | Unavailable) for outcome in outcomes), outcomes
        answered(client)


def test_an_embedder_that_hangs_holds_nobody_longer_than_he_allows(running: Fleet) -> None:
    assert running.embedder.process is not None
    with running.client() as client:
        latest_s = answered(client)
        running.embedder.process.send_signal(signal.SIGSTOP)
        try:
            outcomes = ended(by_picture(client), latest_s)
            assert ended(by_vector(client, PATIENT_S), latest_s) == [None] * CALLERS, "a search by vector waits for no embedder"
        finally:
            running.embedder.process.send_signal(signal.SIGCONT)
        assert all(isinstance(outcome, DeadlineExceeded | Unavailable) for outcome in outcomes), outcomes
        again = by_picture(client, 100, PATIENT_S)
        until(lambda: ended(again, 2 * PATIENT_S) == [None] * CALLERS, "searches are answered again", timeout_s=60)


def test_a_dead_milvus_is_unavailable_by_name_long_before_a_patient_caller_gives_up(
    running: Fleet, lite_to_stop: LiteServer
) -> None:
    with running.client() as client:
        latest_s = answered(client)
        lite_to_stop.signal(signal.SIGKILL)
        outcomes = ended(by_vector(client, timeout_s=30), latest_s)  # the client tries again for a second or two
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes), outcomes
        assert {outcome.metadata["dependency"] for outcome in outcomes if outcome} == {"milvus"}
        lite_to_stop.start()
        answered(client)
