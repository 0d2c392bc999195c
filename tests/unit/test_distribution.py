"""How a run is shared by two processes (`pytest -n 2 --dist loadgroup`), and what the run says of its servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS_OF_TWO_GROUPS = """
import pytest
from tests.servers import processes, starts

def milvus():
    with starts.once("milvus"):
        pass

@pytest.mark.xdist_group("one")
def test_one(tmp_path):
    milvus()
    processes.kill(processes.start(["redis-server", "--version"], tmp_path / "log"))

@pytest.mark.xdist_group("two")
def test_two():
    milvus()
    with starts.once("stack"):
        pass
"""


def test_every_test_carries_the_group_that_keeps_it_with_its_servers(request: pytest.FixtureRequest) -> None:
    """pytest-xdist hands tests out by what stands behind the `@` of their ids; without it each process starts every server."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("this run is not shared by groups")
    ungrouped = [item.nodeid for item in request.session.items if "@" not in item.nodeid.rpartition("::")[2]]
    assert ungrouped == []


def test_a_run_fails_and_names_a_shared_server_that_each_of_its_processes_has_started(tmp_path: Path) -> None:
    (tmp_path / "test_servers.py").write_text(TESTS_OF_TWO_GROUPS)
    plugins = ("-p", "xdist", "-p", "tests.servers.starts")
    options = ("-c", str(tmp_path / "none.ini"), *plugins, "-n", "2", "--dist", "loadgroup")
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # their imports take longer than the run
    (tmp_path / "none.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    assert "2 passed" in run.stdout
    assert "FAILED: milvus is shared by the tests of a run, and was started again" in run.stdout
    assert "milvus: shared, started 2 times" in run.stdout
    assert "stack: shared, started once" in run.stdout
    assert "redis 1" in run.stdout
    assert run.stdout.count("FAILED") == 1
