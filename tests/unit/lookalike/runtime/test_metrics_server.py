"""The server that Prometheus asks holds nothing for peers that say nothing."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import Counter

from lookalike.runtime.metrics_server import start_metrics_server
from lookalike.runtime.telemetry import name_to_prometheus
from tests.servers.processes import free_port, until

LONGEST_S = 0.3


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    stop = start_metrics_server("127.0.0.1", port, LONGEST_S)
    yield port
    stop()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_peers_that_say_nothing_keep_neither_others_out_nor_threads(port: int) -> None:
    before = threading.active_count()
    silent = []
    for content in (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n") * 20:
        peer = socket.create_connection(("127.0.0.1", port), timeout=5)
        peer.sendall(content)
        silent.append(peer)
        if len(silent) % 10 == 0:
            assert "lookalike_" in scrape(port)
    until(lambda: threading.active_count() <= before, "the threads of the silent have ended")
    for peer in silent:
        assert peer.recv(1000) == b""
        peer.close()


def test_counters_come_without_the_time_of_their_making(port: int) -> None:
    Counter("lookalike_tests_things", "Made for this test.").inc()
    name_to_prometheus("tests")
    assert "lookalike_tests_things_total 1.0" in scrape(port)
    assert "_created" not in scrape(port)
