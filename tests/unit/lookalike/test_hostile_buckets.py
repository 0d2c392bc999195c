"""An endpoint of S3 that sends more than was asked for: it fails by name, and what it sends is not held."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lookalike.errors import FailedPrecondition
from lookalike.sources import buckets
from lookalike.sources.buckets import Buckets
from lookalike.sources.urls import parse_url
from tests.servers.s3 import forget_connections

MIB = 1024 * 1024
SENT_BYTES = 64 * MIB


class Endless(BaseHTTPRequestHandler):
    """Answers a list and a range of an object alike: with far more than either."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(SENT_BYTES))
        self.end_headers()
        try:
            for _ in range(SENT_BYTES // MIB):
                self.wfile.write(b" " * MIB)
        except OSError:
            return  # The reader has gone.

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(params=[200, 403])
def endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    handler = type("Handler", (Endless,), {"status": request.param})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(buckets, "MAX_ANSWER_BYTES", 2 * MIB)
    forget_connections()
    yield request.param
    forget_connections()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("asked", ["keys", "range"])
def test_what_is_longer_than_it_may_be_is_broken_off_by_name(endpoint: int, asked: str) -> None:
    def ask() -> object:
        if asked == "keys":
            return next(Buckets().keys(parse_url("s3://stranger/photos/")))
        return Buckets().read(parse_url("s3://stranger/photos/a.png"), 0, 1000)

    tracemalloc.start()
    try:
        with pytest.raises(FailedPrecondition) as caught:
            ask()
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "SOURCE_UNREADABLE"
    whole = asked == "range" and endpoint == 200
    assert ("67,108,864 bytes instead of the 1,000 bytes" if whole else "more than 2,097,152 bytes") in caught.value.message
    assert held < SENT_BYTES // 2
