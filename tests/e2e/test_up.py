"""`lookalike up` as a person uses it: started, used, killed, started again, stopped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from embedder.models.bundle import SHIPPED
from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.client import Client, Consistency
from lookalike.demo import dataset
from lookalike.jobs.ledger import connect_ledger
from lookalike.local.folder import DataFolder
from lookalike.local.parts import LocalConfig, Ports, choose_ports, local_parts
from lookalike.local.ports import HOST, HeldPorts
from lookalike.local.supervisor import Supervisor
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import connect
from lookalike.store.milvus.vectors import MilvusVectors
from tests.e2e import data_of_0_1
from tests.servers import processes, starts

COMMAND = (sys.executable, "-m", "lookalike.cli.main")
COUNT = 40
ONE_MODEL = ("--model", str(SHIPPED / "fashion"))
"""In place of all shipped ones, whose warming up takes most of a start."""


@dataclass
class Up:
    """A running `lookalike up`."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def target(self) -> str:
        """Its gRPC address; waits until it says that everything is ready."""

        def ready() -> bool:
            assert self.process.poll() is None, self.printed
            return "Ctrl-C stops everything" in self.printed

        processes.until(ready, "everything is ready", timeout_s=180, poll_s=0.1)
        found = re.search(r"LOOKALIKE_ADDRESS=(\S+)", self.printed)
        assert found is not None
        return found[1].rstrip(")")


def start(data: Path, *more: str) -> Up:
    arguments = ("up", "--data", str(data), "--http-port", "0", "--grpc-port", "0", *more)
    with tempfile.NamedTemporaryFile(dir=data.parent, suffix=".log", delete=False) as log:
        return Up(processes.start((*COMMAND, *arguments), Path(log.name)), Path(log.name))


@pytest.fixture
def ups() -> Iterator[list[Up]]:
    started: list[Up] = []
    yield started
    for up in started:
        up.process.kill()
        up.process.wait()


def recorded_pids(data: Path) -> list[int]:
    return [process["pid"] for process in json.loads((data / "processes.json").read_text())]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_data_of_this_release_and_of_0_1_survives_a_kill_and_a_stop(
    tmp_path: Path, ups: list[Up], capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    gallery, queries = dataset.split()
    few = dataset.Pictures(gallery.images[:COUNT], gallery.labels[:COUNT], gallery.numbers[:COUNT])
    manifest = dataset.write_files(few, tmp_path / "pictures")

    # Started on what 0.1 left, filled by the command, and guarded against a second one.
    data_of_0_1.unpack(data)
    ups.append(start(data))
    target = ups[-1].target()
    data_of_0_1.check(target, data)
    capsys.readouterr()
    ingest = ["--address", target, "ingest", str(manifest), "-C", "fashion", "--create", "--model", "fashion", "--watch"]
    assert run_command(ingest) == exits.OK, capsys.readouterr()
    assert f"{COUNT} items: {COUNT} indexed, 0 skipped, 0 failed" in capsys.readouterr().out
    second = subprocess.run((*COMMAND, "up", "--data", str(data)), capture_output=True, text=True, check=False, timeout=30)
    assert second.returncode == 4
    assert f"in use by lookalike, process {ups[-1].process.pid}" in second.stderr
    assert "http://127.0.0.1:" in second.stderr

    # Nothing listens beyond the loopback.
    pids = recorded_pids(data)
    assert len(pids) == 5
    for pid in pids:
        sockets = psutil.Process(pid).net_connections("inet")
        heard = {socket.laddr.ip.removeprefix("::ffff:") for socket in sockets if socket.status == psutil.CONN_LISTEN}
        assert heard <= {"127.0.0.1"}, psutil.Process(pid).cmdline()

    # Killed without a chance to stop anything, started again with what it needs alone, found intact.
    ups[-1].process.kill()
    ups[-1].process.wait()
    ups.append(start(data, *ONE_MODEL))
    check_intact(ups[-1].target(), queries)
    assert all(gone(pid) for pid in pids)

    # Stopped as by Ctrl-C: in order, within bounds, nothing left, and all data there.
    pids, kept = recorded_pids(data), files(data / "artifacts")
    ups[-1].process.send_signal(signal.SIGINT)
    assert ups[-1].process.wait(60) == 0
    assert all(gone(pid) for pid in pids)
    printed = ups[-1].printed
    assert re.findall(r"(\w+) +stopped", printed) == ["gateway", "indexer", "embedder", "milvus", "redis"]
    assert "killed" not in printed
    assert files(data / "artifacts") == kept
    with stores(data) as ports:
        connection, ledger = connect(f"http://{HOST}:{ports.milvus}"), connect_ledger(f"redis://{HOST}:{ports.redis}/0")
        collection = MilvusCatalogue(connection).get("fashion", fresh=True)
        assert MilvusVectors(connection).count(collection, timeout_s=30) == COUNT
        assert [job.counts.indexed for job in ledger.list("fashion", 10, "")[0]] == [COUNT]
        ledger.close()
        connection.close()


def files(folder: Path) -> dict[Path, bytes]:
    """What is stored there; thumbnails are among it."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def stores(data: Path) -> Iterator[Ports]:
    """Redis and Milvus of a system that was stopped: its parts that hold data, without those that take long to start."""
    folder, held = DataFolder(data), HeldPorts()
    folder.lock("a test")
    try:
        assert folder.reap_orphans() == []
        config = LocalConfig(data=data, http_port=0, grpc_port=0, usual_ports=False)
        ports = choose_ports(config, held)
        redis, milvus, *_ = local_parts(config, folder, ports)
        supervisor = Supervisor(folder, [redis, milvus], starts.note_part)
        supervisor.start()
        try:
            yield ports
        finally:
            supervisor.stop()
    finally:
        held.close()
        folder.unlock()


def check_intact(target: str, queries: dataset.Pictures) -> None:
    with Client(target) as client:
        assert [found.name for found in client.list_collections()] == ["fashion", "imported", "photos", "shoes"]
        assert client.get_collection("fashion").image_count == COUNT
        (job,) = client.list_jobs("fashion")
        assert job.counts.indexed == COUNT
        found = client.search("fashion", image=queries.png(0), spaces=("siamese", "histogram"), consistency=Consistency.STRONG)
        assert len(found.neighbours) == 5
        assert client.thumbnail("fashion", found.neighbours[0].image.id).startswith(b"\xff\xd8")
