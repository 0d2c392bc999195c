"""When Milvus is away, slow, killed or restarted: the product's errors, in time, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lookalike.errors import BadFilter, DeadlineExceeded, Internal, Unavailable
from lookalike.records.search_options import SearchOptions
from lookalike.runtime.call import Deadline
from lookalike.store.milvus.catalogue import MilvusCatalogue
from lookalike.store.milvus.connection import Connection, connect
from lookalike.store.milvus.vectors import MilvusVectors
from tests.contract.store_samples import TIMEOUT_S, image, new_collection
from tests.servers.milvus import LiteServer
from tests.servers.processes import free_port


def test_a_server_that_is_not_there_is_unavailable_and_the_address_is_named_without_its_password() -> None:
    port, start = free_port(), time.monotonic()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as refused:
        connect(f"http://user:secret@127.0.0.1:{port}", timeout_s=0.5)
    assert time.monotonic() - start < 5
    assert "secret" not in str(refused.value)
    assert refused.value.metadata["dependency"] == "milvus"


def test_a_call_ends_by_its_timeout_when_the_server_hangs(lite_to_stop: LiteServer) -> None:
    connection = connect(lite_to_stop.uri)
    store, collection = MilvusVectors(connection), new_collection()
    MilvusCatalogue(connection).create(collection)
    lite_to_stop.signal(signal.SIGSTOP)
    try:
        for call in (
            lambda: store.count(collection, timeout_s=0.5),
            lambda: store.get_everywhere(collection, ["a"], timeout_s=0.5),
            lambda: store.upsert(collection, [image("a")], Deadline.after(0.5)),
            lambda: connection.ping(0.5),
        ):
            start = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                call()
            assert 0.3 < time.monotonic() - start < 3
    finally:
        lite_to_stop.signal(signal.SIGCONT)
    assert store.count(collection, timeout_s=TIMEOUT_S) in (0, 1)
    connection.close()


def test_a_killed_server_is_unavailable_at_once_and_comes_back_with_everything(lite_to_stop: LiteServer) -> None:
    connection = connect(lite_to_stop.uri)
    store, catalogue, collection = MilvusVectors(connection), MilvusCatalogue(connection, ttl_s=0), new_collection()
    catalogue.create(collection)
    store.upsert(collection, [image(f"i{n}") for n in range(300)])
    store.delete(collection, ["i0"], Deadline.after(TIMEOUT_S))
    lite_to_stop.signal(signal.SIGKILL)
    start = time.monotonic()
    for call in (
        lambda: connection.ping(),
        lambda: catalogue.get(collection.name),
        lambda: store.get(collection, ["i1"], timeout_s=TIMEOUT_S),
        lambda: store.upsert(collection, [image("i0")], Deadline.after(TIMEOUT_S)),
        lambda: store.count(collection, timeout_s=TIMEOUT_S),
    ):
        with pytest.raises(Unavailable):
            call()
    assert time.monotonic() - start < 5, "no call waits for its timeout when the server refuses connections"
    lite_to_stop.start()
    _until_it_answers(connection)
    assert catalogue.get(collection.name) == collection
    assert store.count(collection, timeout_s=TIMEOUT_S) == 299
    (hits,) = store.search(
        collection, "siamese", np.ones((1, 4), np.float32), SearchOptions(top_k=1000, ef=64), timeout_s=TIMEOUT_S
    )
    assert len(hits) == 299
    connection.close()
    with pytest.raises(Unavailable, match="closed"):
        store.count(collection, timeout_s=TIMEOUT_S)


def test_a_deadline_in_the_past_asks_nobody(milvus_lite_uri: str) -> None:
    connection = connect(milvus_lite_uri)
    with pytest.raises(DeadlineExceeded):
        connection.list_collections(deadline=Deadline.after(-1.0))
    connection.close()


def test_what_the_server_refuses_is_a_defect_of_ours(store_uri: str) -> None:
    connection = connect(store_uri)
    MilvusCatalogue(connection).list()
    with pytest.raises(Internal, match="refused"):
        connection.call("insert", "lookalike_catalogue", deadline=Deadline.after(TIMEOUT_S), data=[{"nothing": 1}])
    # Only filters are a caller's. Those that are known to be too much for a server never get there.
    with pytest.raises(BadFilter):
        connection.call("query", "lookalike_catalogue", deadline=Deadline.after(TIMEOUT_S), filter="((", limit=1)
    connection.close()


def test_a_server_of_the_tests_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.servers.processes import start;"
        f"child = start([sys.executable, '-c', 'import time; time.sleep(600)'], Path({str(tmp_path / 'log')!r}));"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "the server outlived the test run"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def _until_it_answers(connection: Connection) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return connection.ping(1.0)
        except (Unavailable, DeadlineExceeded):
            assert time.monotonic() < deadline, "the connection does not recover by itself"
            time.sleep(0.05)
