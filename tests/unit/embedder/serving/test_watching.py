"""Whatever happens to the registry, what is served stays served; what is promoted comes, what is retired goes."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle, InputSpec, TowerConfig
from embedder.registry.record import Change
from embedder.registry.registry import Registry
from embedder.serving.versions import NOT_LOADED, Served, Serving
from embedder.serving.watching import RegistryWatcher
from lookalike.errors import FingerprintMismatch, InvalidArgument, NotFound, Unavailable

POLL_S = 3600.0
"""Looks are made by the tests."""


def a_bundle(seed: int, name: str = "shoes") -> Bundle:
    weights = (np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32),)
    return Bundle(name, TowerConfig(), InputSpec((0.5,), (0.25,), mirror=True), weights)


def built(bundle: Bundle) -> Served:
    """Nothing is computed with it."""
    return Served(bundle, bundle.fingerprint, None)  # type: ignore[arg-type]


@dataclass
class Builder:
    """Builds nothing; raises what it was given; notes for what it was asked, and waits for `free` before it answers."""

    fail: Exception | None = None
    asked: list[str] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)

    def __call__(self, bundle: Bundle) -> Served:
        self.asked.append(bundle.fingerprint)
        assert self.free.wait(20)
        if self.fail:
            raise self.fail
        return built(bundle)


@dataclass
class World:
    """A registry in a folder, an embedder's serving that starts with `photo`, and the watcher between them."""

    folder: Path
    serving: Serving
    builder: Builder
    watcher: RegistryWatcher
    registry: Registry

    def promote(self, bundle: Bundle) -> None:
        over = self.registry.find(bundle.name)
        change = Change("promote", bundle.fingerprint, datetime.now(UTC), "me", over.current if over else "")
        self.registry.promote(bundle, change, over=over)

    def retire(self, bundle: Bundle) -> None:
        change = Change("retire", bundle.fingerprint, datetime.now(UTC), "me")
        self.registry.retire(self.registry.get(bundle.name), change)

    def weights(self, bundle: Bundle) -> Path:
        return self.folder / bundle.name / bundle.fingerprint / bundles.WEIGHTS

    def look(self) -> list[str]:
        """Look once; the events that were logged."""
        with capture_logs() as logs:
            self.watcher.look()
        return [entry["event"] for entry in logs]

    def served(self) -> set[str]:
        return {one.bundle.fingerprint for one, _ in self.serving if one.bundle.name == "shoes"}

    def means(self, bundle: Bundle) -> bool:
        return self.serving.find(bundle.name).bundle.fingerprint == bundle.fingerprint


PHOTO = a_bundle(0, "photo")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    NOT_LOADED.clear()  # what the serving of another test has left
    serving, builder = Serving([built(PHOTO)], complete=False), Builder()
    builder.free.set()
    (tmp_path / "models").mkdir()
    registry = Registry(str(tmp_path / "models"))
    watcher = RegistryWatcher(registry, serving, builder, poll_s=POLL_S)
    yield World(tmp_path / "models", serving, builder, watcher, registry)
    builder.free.set()


def up() -> float | None:
    return REGISTRY.get_sample_value("lookalike_dependency_up", {"dependency": "registry"})


def not_loaded() -> dict[tuple[str, str], float]:
    """What Prometheus sees of versions that ought to be served and are not, by model and reason."""
    (metric,) = (one for one in REGISTRY.collect() if one.name == "lookalike_embedder_model_not_loaded")
    return {(sample.labels["model"], sample.labels["reason"]): sample.value for sample in metric.samples}


def test_a_promoted_version_is_served_and_its_name_means_it_while_the_older_one_stays(world: World) -> None:
    first, second = a_bundle(1), a_bundle(2)
    assert world.look() == []
    world.promote(first)
    assert world.look() == ["model loaded", "model switched"]
    assert world.means(first)
    world.promote(second)
    world.look()
    assert world.means(second)
    assert world.served() == {first.fingerprint, second.fingerprint}
    assert world.serving.find("shoes", first.fingerprint).bundle.fingerprint == first.fingerprint
    assert world.look() == []
    assert world.builder.asked == [first.fingerprint, second.fingerprint], "each is built once"
    assert world.serving.default == "photo"


def test_a_first_version_is_served_and_meant_from_the_same_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In between it would be neither awaited nor found, and an ingest job that asks then would fail for good."""
    first, add, between = a_bundle(1), world.serving.add, []

    def add_and_ask(served: Served, *, current: bool = False) -> None:
        add(served, current=current)
        between.append(world.means(first))

    monkeypatch.setattr(world.serving, "add", add_and_ask)
    world.promote(first)
    world.look()
    assert between == [True]


def test_the_current_versions_come_before_the_older_ones(world: World) -> None:
    first, second, hats = a_bundle(1), a_bundle(2), a_bundle(3, "hats")
    for bundle in (first, second, hats):
        world.promote(bundle)
    world.look()
    assert world.builder.asked == [hats.fingerprint, second.fingerprint, first.fingerprint]


def test_a_name_that_is_always_served_may_come_to_mean_a_version_of_the_registry(world: World) -> None:
    better = a_bundle(1, "photo")
    world.promote(better)
    world.look()
    assert world.means(better)
    assert world.serving.find("photo", PHOTO.fingerprint).bundle is PHOTO


def test_a_retired_version_leaves(world: World) -> None:
    first, second = a_bundle(1), a_bundle(2)
    world.promote(first)
    world.promote(second)
    world.look()
    world.retire(first)
    assert world.look() == ["model retired"]
    assert world.served() == {second.fingerprint}
    with pytest.raises(FingerprintMismatch):
        world.serving.find("shoes", first.fingerprint)


@pytest.mark.parametrize("damage", ["missing", "cut short", "of another"])
def test_a_damaged_version_disturbs_nothing_is_logged_once_and_tried_again_when_repaired(world: World, damage: str) -> None:
    first, second = a_bundle(1), a_bundle(2)
    world.promote(first)
    world.look()
    world.promote(second)
    whole = world.weights(second).read_bytes()
    if damage == "missing":
        world.weights(second).unlink()
    else:
        world.weights(second).write_bytes(whole[:50] if damage == "cut short" else world.weights(first).read_bytes())
    reason = {"missing": "MODEL_BUNDLE_NOT_FOUND", "cut short": "INVALID_ARGUMENT", "of another": "BUNDLE_CORRUPT"}[damage]
    assert world.look() == ["model cannot be loaded; serving goes on without it"]
    assert world.look() == []
    assert not_loaded() == {("shoes", reason): 1}, "for as long as it is so, not only when it was found out"
    assert world.means(first), "the name means what it meant before"
    with pytest.raises(Unavailable, match="cannot be loaded"):
        world.serving.find("shoes", second.fingerprint)
    assert up() == 1, "the registry is well; one bundle in it is not"
    world.weights(second).write_bytes(whole)
    assert world.look() == ["model loaded", "model switched"]
    assert world.means(second)
    assert not_loaded() == {}


def test_a_version_that_cannot_be_loaded_and_is_retired_is_missed_no_more(world: World) -> None:
    first, second, third = a_bundle(1), a_bundle(2), a_bundle(3)
    for bundle in (first, second, third):
        world.promote(bundle)
    for bundle in (first, second):
        world.weights(bundle).unlink()
    world.look()
    assert not_loaded() == {("shoes", "MODEL_BUNDLE_NOT_FOUND"): 2}
    world.retire(first)
    world.retire(second)
    world.look()
    assert not_loaded() == {}


def test_a_new_name_whose_only_version_is_damaged_is_unavailable_with_the_reason(world: World) -> None:
    first = a_bundle(1)
    world.promote(first)
    world.weights(first).unlink()
    world.look()
    with pytest.raises(Unavailable, match=r"weights\.npz is missing"):
        world.serving.find("shoes")
    with pytest.raises(NotFound):
        world.serving.find("hats")


@pytest.mark.parametrize("error", [InvalidArgument("bundle", "does not fit"), RuntimeError("out of memory")])
def test_a_version_that_cannot_be_built_is_not_built_again_and_again(world: World, error: Exception) -> None:
    world.builder.fail = error
    first, second = a_bundle(1), a_bundle(2)
    world.promote(first)
    assert "model cannot be loaded; serving goes on without it" in world.look()
    world.look()
    assert len(world.builder.asked) == 1
    world.builder.fail = None
    world.promote(second)
    world.look()
    assert world.served() == {first.fingerprint, second.fingerprint}, "a change of the registry is a reason to try again"


def test_a_registry_that_vanishes_changes_nothing_and_is_logged_once(world: World) -> None:
    first, second = a_bundle(1), a_bundle(2)
    world.promote(first)
    world.promote(second)
    world.look()
    aside = world.folder.with_name("aside")
    world.folder.rename(aside)
    assert world.look() == ["registry has lost models; serving goes on"]
    assert world.look() == []
    assert up() == 0
    assert (world.means(second), world.served()) == (True, {first.fingerprint, second.fingerprint})
    aside.rename(world.folder)
    assert world.look() == ["registry can be read again"]
    assert up() == 1


class Moody(fsspec.get_filesystem_class("memory")):  # type: ignore[misc]
    """Answers, or does not."""

    protocol = "moody"
    answers = True

    def ls(self, path: str, detail: bool = True, **more: object) -> object:
        if not Moody.answers:
            raise OSError(5, "Input/output error")
        return super().ls(path, detail, **more)


def test_a_registry_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    fsspec.register_implementation("moody", Moody, clobber=True)
    registry = Registry(f"moody://{tmp_path.name}")
    serving, builder = Serving([built(PHOTO)], complete=False), Builder()
    builder.free.set()
    world = World(tmp_path, serving, builder, RegistryWatcher(registry, serving, builder, poll_s=POLL_S), registry)
    first = a_bundle(1)
    world.promote(first)
    Moody.answers = False
    try:
        assert world.look() == ["registry cannot be read; serving goes on"]
        with pytest.raises(Unavailable, match="has not been read yet"):
            serving.find("shoes", first.fingerprint)
        assert up() == 0
        Moody.answers = True
        assert world.look() == ["registry can be read again", "model loaded", "model switched"]
        Moody.answers = False
        assert world.look() == ["registry cannot be read; serving goes on"]
        assert world.look() == []
        assert world.means(first)
        with pytest.raises(FingerprintMismatch):
            serving.find("shoes", "0" * 16)
    finally:
        Moody.answers = True


def test_a_record_that_cannot_be_read_costs_only_its_own_model(world: World) -> None:
    first, hats = a_bundle(1), a_bundle(2, "hats")
    world.promote(first)
    world.look()
    (world.folder / "shoes" / "model-000002.json").write_text("{")
    world.promote(hats)
    assert world.look() == ["model's record cannot be read", "model loaded", "model switched"]
    assert world.means(first)
    assert not_loaded() == {("shoes", "UNREADABLE"): 1}
    assert world.look() == []
    with pytest.raises(FingerprintMismatch):
        world.serving.find("hats", "0" * 16)


def test_what_a_record_that_cannot_be_read_may_speak_of_is_unavailable_until_it_can(world: World) -> None:
    first = a_bundle(1)
    world.promote(first)
    record = world.folder / "shoes" / "model-000001.json"
    whole = record.read_text()
    record.write_text("{")
    world.look()
    for fingerprint in ("", first.fingerprint):
        with pytest.raises(Unavailable, match="cannot be read now"):
            world.serving.find("shoes", fingerprint)
    with pytest.raises(NotFound):
        world.serving.find("hats")
    record.write_text(whole)
    world.look()
    assert world.means(first)
    with pytest.raises(FingerprintMismatch):
        world.serving.find("shoes", "0" * 16)


def test_what_a_registry_has_lost_is_unavailable_even_where_it_was_never_loaded(world: World) -> None:
    world.promote(a_bundle(1))
    world.look()
    world.folder.joinpath("shoes").rename(world.folder.with_name("aside"))
    world.look()
    with pytest.raises(Unavailable, match="cannot be read now"):
        world.serving.find("shoes", a_bundle(2).fingerprint)


def test_a_folder_that_is_not_there_is_no_empty_registry_until_it_is(world: World) -> None:
    world.folder.rmdir()
    assert world.look() == ["registry is not there; serving goes on"]
    assert world.look() == []
    assert up() == 0
    for asked in (("shoes", ""), ("shoes", "0" * 16), ("photo", "0" * 16)):
        with pytest.raises(Unavailable, match="is not there"):
            world.serving.find(*asked)
    assert world.serving.find("photo").bundle is PHOTO
    world.folder.mkdir()
    assert world.look() == ["registry can be read again"]
    assert up() == 1
    with pytest.raises(NotFound):
        world.serving.find("shoes")
    with pytest.raises(FingerprintMismatch):
        world.serving.find("photo", "0" * 16)


def test_a_version_that_cannot_be_loaded_does_not_make_the_rest_known(world: World) -> None:
    world.promote(a_bundle(1))
    world.promote(a_bundle(2, "hats"))
    (world.folder / "hats" / "model-000001.json").write_text("{")
    world.weights(a_bundle(1)).unlink()
    world.look()
    with pytest.raises(Unavailable, match="cannot be read now"):
        world.serving.find("hats")


def test_the_thread_has_looked_once_where_the_folder_is_not_there_so_that_the_embedder_becomes_ready(world: World) -> None:
    world.folder.rmdir()
    world.watcher.start()
    try:
        assert world.watcher.wait_for_first_look(10)
        assert world.serving.find("photo").bundle is PHOTO
    finally:
        world.watcher.close(10)


def test_the_thread_looks_by_itself_and_a_call_for_a_new_version_does_not_wait_for_it(world: World) -> None:
    world.watcher.start()
    try:
        assert world.watcher.wait_for_first_look(10)
        first = a_bundle(1)
        world.builder.free.clear()
        world.promote(first)
        with pytest.raises(Unavailable, match="is being loaded"):
            world.serving.find("shoes", first.fingerprint)
        assert not_loaded() == {("shoes", "LOADING"): 1}
        assert world.serving.find("photo").bundle is PHOTO, "what is served is found while another is loaded"
        world.builder.free.set()
        until_served(world, first)
        with pytest.raises(FingerprintMismatch):
            world.serving.find("shoes", "0" * 16)
    finally:
        world.watcher.close(10)


def until_served(world: World, bundle: Bundle) -> None:
    for _ in range(1000):
        if ("shoes", bundle.fingerprint) in world.serving:
            return
        threading.Event().wait(0.01)
    raise AssertionError("not served in time")


def test_the_thread_outlives_a_defect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken() -> list[str]:
        calls.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(world.registry, "names", broken)
    world.watcher.start()
    assert world.watcher.wait_for_first_look(10)
    monkeypatch.undo()
    first = a_bundle(1)
    world.promote(first)
    with pytest.raises(FingerprintMismatch):
        world.serving.find("shoes", "0" * 16)
    until_served(world, first)
    assert calls
    shutil.rmtree(world.folder)
    world.watcher.close(10)
    assert world.means(first)
