"""Runs `lookalike` in this process against the gateway that answers from memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lookalike.cli.main import run_command
from tests.unit.lookalike.fake_gateway import FakeGateway


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Lookalike = Callable[..., Said]


@pytest.fixture
def lookalike(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> Lookalike:
    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = run_command(["--address", gateway.target, *arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run
