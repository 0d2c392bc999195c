"""What container health checks ask: ready or not, alive or not, and one line that says which."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lookalike.errors import Unavailable
from lookalike.runtime.channels import open_channel
from lookalike.runtime.probe import check_serving, main
from lookalike.runtime.server import LIVENESS, Server, build_server
from tests.servers.processes import free_port


@pytest.fixture
def server() -> Iterator[Server]:
    built = build_server([], address="127.0.0.1:0", threads=1, max_concurrent=4)
    built.start()
    yield built
    built.stop(0)


def test_a_server_that_waits_is_alive_and_not_ready(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"127.0.0.1:{server.port}"
    assert main([target, LIVENESS]) == 0
    assert main([target]) == 1
    assert capsys.readouterr().err == f"{target} says NOT_SERVING\n"
    with open_channel(target) as channel, pytest.raises(Unavailable, match="warming up or shutting down"):
        check_serving(channel, "embedder")
    server.set_ready(True)
    assert main([target]) == 0
    with open_channel(target) as channel:
        check_serving(channel, "embedder")


def test_nobody_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    target = f"127.0.0.1:{free_port()}"
    assert main([target]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{target} does not answer: UNAVAILABLE: ")
    assert "Connection refused" in line
    with open_channel(target) as channel, pytest.raises(Unavailable, match="embedder"):
        check_serving(channel, "embedder")


def test_without_an_address_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "HOST:PORT" in capsys.readouterr().err
