"""The embedder's process beside a registry that changes while calls stream: no call fails or gets another version's vectors."""

from __future__ import annotations

import os
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import grpc
import pytest

from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle
from embedder.registry.record import Change
from embedder.registry.registry import Registry
from lookalike.errors import FingerprintMismatch, LookalikeError
from lookalike.runtime.channels import open_channel
from lookalike.v1 import embedder_service_pb2 as messages
from lookalike.v1 import embedder_service_pb2_grpc as rpc
from lookalike.wire.paging import token_after
from lookalike.wire.status import from_rpc_error
from tests.messages import asked_spaces, made
from tests.pictures.made_pictures import encoded, noise
from tests.servers.embedder import random_bundle
from tests.servers.processes import free_port, start, stop, until

TIMEOUT_S = 30.0
PICTURE = encoded(noise(16, 16))


def a_version(number: int, name: str = "shoes") -> Bundle:
    base = random_bundle(name)
    return replace(base, weights=(base.weights[0] + number, *base.weights[1:]))


def promote(registry: Registry, bundle: Bundle) -> None:
    over = registry.find(bundle.name)
    registry.promote(bundle, Change("promote", bundle.fingerprint, datetime.now(UTC), "me"), over=over)


@dataclass
class Stream:
    """Calls without a pause from a thread of its own, for one version or for whatever the name means."""

    stub: rpc.EmbedderServiceStub
    fingerprint: str
    made: list[str] = field(default_factory=list)
    """Fingerprint of each answer, in order."""
    failed: list[LookalikeError] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        request = messages.EmbedRequest(
            images=[PICTURE] * 3,
            spaces=asked_spaces("siamese", model="shoes", fingerprint=self.fingerprint),
            lane=messages.LANE_BULK,
        )
        while not self.ended.is_set():
            try:
                self.made.append(self.stub.Embed(request, timeout=TIMEOUT_S).spaces[0].fingerprint)
            except grpc.RpcError as error:
                self.failed.append(from_rpc_error(error, "embedder"))

    def goes_on(self) -> None:
        """Return when ten more calls have been answered."""
        before = len(self.made)
        until(lambda: len(self.made) >= before + 10, "calls go on")


@dataclass
class Running:
    """An embedder's process that watches `registry`; `log` is what it has said."""

    registry: Registry
    folder: Path
    stub: rpc.EmbedderServiceStub
    metrics_port: int
    log: Path

    def listed(self, name: str = "") -> list[tuple[str, str, bool]]:
        """Every version, or those of one name."""
        models = self.stub.ListModels(messages.ListModelsRequest(), timeout=TIMEOUT_S).models
        return [(model.name, model.fingerprint, model.current) for model in models if name in ("", model.name)]

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    @contextmanager
    def streaming(self, *fingerprints: str) -> Iterator[list[Stream]]:
        streams = [Stream(self.stub, fingerprint) for fingerprint in fingerprints]
        threads = [threading.Thread(target=stream.run) for stream in streams]
        for thread in threads:
            thread.start()
        try:
            yield streams
        finally:
            for stream, thread in zip(streams, threads, strict=True):
                stream.ended.set()
                thread.join()


@contextmanager
def running(tmp_path: Path, registry: Registry, folder: Path) -> Iterator[Running]:
    bundles.save(random_bundle("small"), tmp_path / "small")
    port, metrics_port = free_port(), free_port()
    settings = {
        "ADDRESS": f"127.0.0.1:{port}",
        "MODELS": str(tmp_path / "small"),
        "REGISTRY": str(folder),
        "REGISTRY_POLL_S": "0.2",
        "BATCH_IMAGES": "4",
        "METRICS_PORT": str(metrics_port),
    }
    env = {**os.environ, **{f"LOOKALIKE_EMBEDDER_{name}": value for name, value in settings.items()}}
    log = tmp_path / "embedder.log"
    process = start([sys.executable, "-m", "embedder"], log, env={**env, "CUDA_VISIBLE_DEVICES": "-1"})
    try:
        with open_channel(f"127.0.0.1:{port}") as channel:
            stub = rpc.EmbedderServiceStub(channel)
            until(lambda: '"ready"' in log.read_text(), "the embedder is ready", timeout_s=120, poll_s=0.1)
            yield Running(registry, folder, stub, metrics_port, log)
        assert stop(process) == 0
    finally:
        stop(process)


def damaged() -> tuple[Bundle, Bundle]:
    """What is damaged when the embedder starts: the first has no weights, the second those of another version."""
    return a_version(1, "boots"), a_version(1, "hats")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An embedder whose registry holds the model `shoes`, and two that are damaged until a test repairs them."""
    tmp_path = tmp_path_factory.mktemp("registry")
    folder = tmp_path / "models"
    registry = Registry(str(folder))
    for bundle in (a_version(1), *damaged()):
        promote(registry, bundle)
    boots, hats = (_weights(folder, bundle) for bundle in damaged())
    boots.unlink()
    hats.write_bytes(bundles.to_files(a_version(2, "hats"))[bundles.WEIGHTS])
    with running(tmp_path, registry, folder) as embedder:
        yield embedder


def _weights(folder: Path, bundle: Bundle) -> Path:
    return folder / bundle.name / bundle.fingerprint / bundles.WEIGHTS


def test_damaged_bundles_in_the_registry_delay_nothing_and_are_reported(embedder: Running) -> None:
    small = ("small", random_bundle("small").fingerprint, True)
    assert embedder.listed() == [small, ("shoes", a_version(1).fingerprint, True)], "READY waits for a registry that answers"
    for bundle in damaged():
        name = bundle.name
        request = messages.EmbedRequest(images=[PICTURE], spaces=asked_spaces(model=name, fingerprint=bundle.fingerprint))
        with pytest.raises(grpc.RpcError) as refused:
            embedder.stub.Embed(request, timeout=TIMEOUT_S)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "cannot be loaded" in refused.value.details()  # type: ignore[operator]
        assert f'lookalike_embedder_model_not_loaded{{model="{name}"' in embedder.metrics()
        _weights(embedder.folder, bundle).write_bytes(bundles.to_files(bundle)[bundles.WEIGHTS])
        repaired = (name, bundle.fingerprint, True)
        until(partial(lambda wanted: wanted in embedder.listed(), repaired), "the repaired version is served", timeout_s=60)
        assert f'lookalike_embedder_model_not_loaded{{model="{name}"' not in embedder.metrics()
        assert embedder.stub.Embed(request, timeout=TIMEOUT_S).spaces[1].fingerprint == bundle.fingerprint


def test_models_are_listed_a_page_at_a_time(embedder: Running) -> None:
    pages: list[list[tuple[str, str, bool]]] = []
    token = ""
    while not pages or token:
        request = messages.ListModelsRequest(page_size=2, page_token=token)
        page = embedder.stub.ListModels(request, timeout=TIMEOUT_S)
        assert (page.device, page.engine) != ("", "")
        pages.append([(model.name, model.fingerprint, model.current) for model in page.models])
        token = page.next_page_token
    assert len(pages) >= 2
    assert {len(page) for page in pages[:-1]} == {2}
    assert [one for page in pages for one in page] == embedder.listed()
    gone = token_after("shoes@" + "0" * 16, messages.ListModelsRequest())
    for wrong, name in ({"page_size": -1}, "page_size"), ({"page_token": gone}, "page_token"):
        with pytest.raises(grpc.RpcError) as refused:
            embedder.stub.ListModels(made(messages.ListModelsRequest, **wrong), timeout=TIMEOUT_S)
        assert from_rpc_error(refused.value, "embedder").field == name


def test_versions_come_and_go_and_the_registry_itself_while_calls_stream(embedder: Running) -> None:
    registry, first, second = embedder.registry, a_version(1), a_version(2)

    # A promotion: no call fails, the name switches once, and a call that names the older version gets that.
    with embedder.streaming("", first.fingerprint) as (by_name, of_first):
        by_name.goes_on()
        promote(registry, second)
        until(lambda: ("shoes", second.fingerprint, True) in embedder.listed(), "the new version is current", timeout_s=60)
        for stream in (by_name, of_first):
            stream.goes_on()
    assert embedder.listed("shoes") == [("shoes", second.fingerprint, True), ("shoes", first.fingerprint, False)]
    assert (by_name.failed, of_first.failed) == ([], [])
    assert set(of_first.made) == {first.fingerprint}
    switched = by_name.made.index(second.fingerprint)
    assert set(by_name.made[:switched]) == {first.fingerprint}
    assert set(by_name.made[switched:]) == {second.fingerprint}

    # A retirement: the version leaves, the other one never notices.
    with embedder.streaming(second.fingerprint, first.fingerprint) as (of_second, of_first):
        of_first.goes_on()
        record = registry.get("shoes")
        registry.retire(record, Change("retire", first.fingerprint, datetime.now(UTC), "me"), delete=True)
        until(lambda: of_first.failed, "the retired version has left", timeout_s=60)
        of_second.goes_on()
    assert of_second.failed == []
    assert set(of_first.made) == {first.fingerprint}, "until its last answer it is itself"
    assert all(isinstance(error, FingerprintMismatch) for error in of_first.failed)
    assert of_first.failed[0].metadata["expected"] == first.fingerprint
    assert embedder.listed("shoes") == [("shoes", second.fingerprint, True)]

    # A registry that vanishes: serving goes on, and the log says so once.
    with embedder.streaming(second.fingerprint, "") as streams:
        gone = embedder.folder.rename(embedder.folder.with_name("gone"))
        until(
            lambda: 'lookalike_dependency_up{dependency="registry"} 0.0' in embedder.metrics(),
            "the registry's loss is noticed",
        )
        for stream in streams:
            stream.goes_on()
    assert all(stream.failed == [] and set(stream.made) == {second.fingerprint} for stream in streams)
    assert embedder.listed("shoes") == [("shoes", second.fingerprint, True)]
    assert embedder.log.read_text().count("registry has lost models") == 1

    # And comes back, with something new in it.
    third = a_version(3)
    gone.rename(embedder.folder)
    promote(registry, third)
    until(lambda: ("shoes", third.fingerprint, True) in embedder.listed(), "the new version is current", timeout_s=60)
    assert 'lookalike_dependency_up{dependency="registry"} 1.0' in embedder.metrics()


def test_a_registry_that_cannot_be_used_at_all_is_one_clear_line(tmp_path: Path) -> None:
    bundles.save(random_bundle("small"), tmp_path / "small")
    env = {**os.environ, "LOOKALIKE_EMBEDDER_MODELS": str(tmp_path / "small"), "LOOKALIKE_EMBEDDER_REGISTRY": "nosuch://x"}
    log = tmp_path / "embedder.log"
    process = start([sys.executable, "-m", "embedder"], log, env=env)
    assert process.wait(60) == 2
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("lookalike:")]
    assert "nosuch" in line
