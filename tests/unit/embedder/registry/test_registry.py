"""The registry keeps every version and every change, though several write at once, and gives out nothing but what it says."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle, DataSummary, InputSpec, TowerConfig
from embedder.registry import registry as registries
from embedder.registry.comparison import Comparison
from embedder.registry.record import Change, Record
from embedder.registry.registry import Registry, find_bundle
from lookalike.errors import FailedPrecondition, InvalidArgument, LookalikeError, NotFound, Unavailable

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def a_bundle(seed: int = 1, name: str = "shoes", p_at_5: float = 0.5) -> Bundle:
    """No tower needs to fit it: the registry reads weights, it does not run them."""
    weights = (np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32),)
    measured = DataSummary("things", 10, 2, digest="d" * 16)
    spec = InputSpec((0.5,), (0.25,), mirror=True)
    return Bundle(name, TowerConfig(), spec, weights, metrics={"p_at_5": p_at_5}, measured_on=measured)


def promotion(bundle: Bundle, over: Record | None = None, **fields: object) -> Change:
    return Change("promote", bundle.fingerprint, AT, "me", over.current if over else "", **fields)  # type: ignore[arg-type]


def promote(registry: Registry, bundle: Bundle) -> Record:
    over = registry.find(bundle.name)
    return registry.promote(bundle, promotion(bundle, over), over=over)


def retire(registry: Registry, name: str, fingerprint: str, *, delete: bool = False) -> Record:
    return registry.retire(registry.get(name), Change("retire", fingerprint, AT, "me"), delete=delete)


@pytest.fixture(params=["folder", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "folder":
        yield Registry(str(tmp_path / "models"))
        return
    url = f"memory://{tmp_path.name}/models"
    yield Registry(url)
    files, root = fsspec.core.url_to_fs(url)
    if files.exists(root):
        files.rm(root, recursive=True)


def test_a_place_that_is_not_there_yet_is_an_empty_registry(registry: Registry) -> None:
    assert registry.names() == []
    assert registry.find("shoes") is None
    with pytest.raises(NotFound, match="has: none"):
        registry.get("shoes")


def test_a_promoted_bundle_comes_back_whole_and_its_name_means_it(registry: Registry) -> None:
    bundle = a_bundle()
    made = promote(registry, bundle)
    assert registry.names() == ["shoes"]
    assert registry.get("shoes") == made
    assert (made.revision, made.current, made.live) == (1, bundle.fingerprint, (bundle.fingerprint,))
    version = made.versions[bundle.fingerprint]
    assert (version.metrics, version.measured_on, version.added_at) == ({"p_at_5": 0.5}, bundle.measured_on, AT)
    assert version.size_bytes == sum(map(len, bundles.to_files(bundle).values()))
    loaded = registry.load("shoes", bundle.fingerprint)
    assert (loaded.fingerprint, loaded.metrics) == (bundle.fingerprint, bundle.metrics)


def test_a_later_promotion_keeps_the_older_version_live_and_the_history_shows_both(registry: Registry) -> None:
    first, second = a_bundle(1), a_bundle(2)
    promote(registry, first)
    comparison = Comparison("p_at_5", "things", "d" * 16, current={"p_at_5": 0.5}, new={"p_at_5": 0.4})
    over = registry.get("shoes")
    change = promotion(second, over, reason="smaller", forced=True, comparison=comparison)
    made = registry.promote(second, change, over=over)
    assert made.live == (second.fingerprint, first.fingerprint)
    assert registry.history("shoes") == [promotion(first), change]
    assert registry.load("shoes", first.fingerprint).fingerprint == first.fingerprint


def test_what_the_name_meant_before_the_registry_knew_it_is_kept(registry: Registry) -> None:
    shipped, new = a_bundle(1), a_bundle(2)
    made = registry.promote(new, promotion(new), over=None, keep=shipped)
    assert made.live == (new.fingerprint, shipped.fingerprint)
    assert registry.load("shoes", shipped.fingerprint).fingerprint == shipped.fingerprint


def test_retiring_takes_a_version_out_and_keeps_its_files_unless_asked_to(registry: Registry) -> None:
    first, second, third = (a_bundle(seed) for seed in (1, 2, 3))
    for bundle in (first, second, third):
        promote(registry, bundle)
    made = retire(registry, "shoes", first.fingerprint)
    assert made.live == (third.fingerprint, second.fingerprint)
    assert (made.versions[first.fingerprint].state, made.versions[first.fingerprint].retired_at) == ("retired", AT)
    registry.load("shoes", first.fingerprint)
    assert retire(registry, "shoes", second.fingerprint, delete=True).versions[second.fingerprint].deleted
    with pytest.raises(NotFound, match=bundles.CARD):
        registry.load("shoes", second.fingerprint)
    assert registry.get("shoes").revision == 5


def test_a_retired_version_is_live_again_when_it_is_promoted(registry: Registry) -> None:
    first, second = a_bundle(1), a_bundle(2)
    promote(registry, first)
    promote(registry, second)
    retire(registry, "shoes", first.fingerprint)
    assert promote(registry, first).live == (first.fingerprint, second.fingerprint)


class Interrupted(Registry):
    """Something else happens right after it has written a record."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def _append(self, record: Record) -> Record:
        made = super()._append(record)
        self.meanwhile()
        return made


def test_files_of_a_version_that_is_promoted_while_it_is_deleted_stay(registry: Registry) -> None:
    first, second = a_bundle(1), a_bundle(2)
    promote(registry, first)
    promote(registry, second)
    slow = Interrupted(registry.url)
    slow.meanwhile = lambda: promote(registry, first)
    retire(slow, "shoes", first.fingerprint, delete=True)
    assert registry.get("shoes").current == first.fingerprint
    assert registry.load("shoes", first.fingerprint).fingerprint == first.fingerprint


@pytest.mark.parametrize("lost", [(bundles.CARD,), (bundles.WEIGHTS,), (bundles.CARD, bundles.WEIGHTS)])
def test_files_that_were_deleted_while_a_version_was_promoted_are_written_again(
    registry: Registry, lost: tuple[str, ...]
) -> None:
    files, root = fsspec.core.url_to_fs(registry.url)
    bundle, slow = a_bundle(1), Interrupted(registry.url)

    def delete() -> None:
        for file in lost:
            files.rm_file(f"{root}/shoes/{bundle.fingerprint}/{file}")

    slow.meanwhile = delete
    promote(slow, bundle)
    assert registry.load("shoes", bundle.fingerprint).fingerprint == bundle.fingerprint


def test_a_folder_is_there_or_not_and_of_other_places_that_is_not_known(tmp_path: Path) -> None:
    for url in (str(tmp_path), f"file://{tmp_path}", "memory://nothing"):
        assert Registry(url).is_there()
    for url in (str(tmp_path / "none"), f"file://{tmp_path}/none"):
        assert not Registry(url).is_there()


def test_what_a_name_means_cannot_be_retired_nor_what_is_not_there(registry: Registry) -> None:
    bundle = a_bundle()
    promote(registry, bundle)
    with pytest.raises(FailedPrecondition, match="promote another version first") as current:
        retire(registry, "shoes", bundle.fingerprint)
    assert current.value.reason == "MODEL_CURRENT"
    with pytest.raises(NotFound, match=bundle.fingerprint):
        retire(registry, "shoes", "0" * 16)
    assert registry.get("shoes").revision == 1


def test_a_change_decided_on_an_older_state_is_refused(registry: Registry) -> None:
    first, second, third = (a_bundle(seed) for seed in (1, 2, 3))
    promote(registry, first)
    seen = registry.get("shoes")
    promote(registry, second)
    with pytest.raises(FailedPrecondition, match="somebody else") as refused:
        registry.promote(third, promotion(third, seen), over=seen)
    assert refused.value.reason == "REGISTRY_CHANGED"
    assert registry.get("shoes").current == second.fingerprint


def test_of_many_promotions_at_once_none_is_lost(registry: Registry) -> None:
    every = [a_bundle(seed) for seed in range(12)]
    together = threading.Barrier(4)

    def promote_some(share: list[Bundle]) -> None:
        together.wait()
        for bundle in share:
            while not promoted(bundle):
                pass

    def promoted(bundle: Bundle) -> bool:
        try:
            promote(registry, bundle)
        except FailedPrecondition as error:
            if error.reason != "REGISTRY_CHANGED":
                raise
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(promote_some, [every[start::4] for start in range(4)]))
    record = registry.get("shoes")
    assert record.revision == 12
    assert set(record.live) == {bundle.fingerprint for bundle in every}
    history = registry.history("shoes")
    assert {change.fingerprint for change in history} == set(record.live)
    # Each was decided on what the one before it had made.
    assert [change.previous for change in history] == ["", *(change.fingerprint for change in history[:-1])]
    assert record.current == history[-1].fingerprint


@pytest.mark.parametrize("damage", ["weights missing", "weights cut short", "weights of another", "card missing", "misplaced"])
def test_a_version_that_is_not_what_it_says_is_never_given_out(tmp_path: Path, damage: str) -> None:
    registry = Registry(str(tmp_path))
    bundle, other = a_bundle(1), a_bundle(2)
    promote(registry, bundle)
    promote(registry, other)
    folder, of_other = tmp_path / "shoes" / bundle.fingerprint, tmp_path / "shoes" / other.fingerprint
    before = registry.stamp("shoes", bundle.fingerprint)
    if damage == "misplaced":
        shutil.rmtree(folder)
        shutil.copytree(of_other, folder)
    elif damage == "card missing":
        (folder / bundles.CARD).unlink()
    elif damage == "weights missing":
        (folder / bundles.WEIGHTS).unlink()
    elif damage == "weights cut short":
        (folder / bundles.WEIGHTS).write_bytes((folder / bundles.WEIGHTS).read_bytes()[:99])
    else:
        shutil.copy(of_other / bundles.WEIGHTS, folder / bundles.WEIGHTS)
    with pytest.raises(LookalikeError, match=bundle.fingerprint) as raised:
        registry.load("shoes", bundle.fingerprint)
    assert isinstance(raised.value, NotFound | InvalidArgument | FailedPrecondition)
    assert registry.stamp("shoes", bundle.fingerprint) != before, "that something changed is seen without reading it all"
    assert registry.load("shoes", other.fingerprint).fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("field", "value"), [("format", 9), ("current", "0" * 16), ("versions", 3), ("change", {}), ("name", "hats")]
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, field: str, value: object) -> None:
    registry = Registry(str(tmp_path))
    promote(registry, a_bundle())
    path = tmp_path / "shoes" / "model-000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(InvalidArgument, match=r"model-000001\.json"):
        registry.find("shoes")


class Unplugged(MemoryFileSystem):  # type: ignore[misc]
    """A file system that does not answer."""

    protocol = "unplugged"

    def ls(self, path: str, **_: object) -> list[str]:
        raise TimeoutError(errno.ETIMEDOUT, "timed out")


def test_a_registry_that_cannot_be_reached_is_unavailable_by_its_name() -> None:
    fsspec.register_implementation("unplugged", Unplugged, clobber=True)
    with pytest.raises(Unavailable, match="model registry is unavailable: timed out"):
        Registry("unplugged://models").names()


class Conditional(MemoryFileSystem):  # type: ignore[misc]
    """Says of a condition that does not hold what s3fs says; or loses the answer to a write that was made."""

    protocol = "conditional"
    loses_answers = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: object) -> None:
        if mode == "create" and self.exists(path):
            raise OSError(errno.EINVAL, "At least one of the pre-conditions you specified did not hold")
        super().pipe_file(path, value, mode="overwrite", **more)
        if Conditional.loses_answers:
            raise TimeoutError(errno.ETIMEDOUT, "timed out")


def test_a_store_that_words_its_refusal_in_its_own_way_loses_no_update_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("conditional", Conditional, clobber=True)
    registry = Registry(f"conditional://{tmp_path.name}")
    promote(registry, a_bundle(1))
    seen = registry.get("shoes")
    promote(registry, a_bundle(2))
    with pytest.raises(FailedPrecondition) as refused:
        registry.promote(a_bundle(3), promotion(a_bundle(3), seen), over=seen)
    assert refused.value.reason == "REGISTRY_CHANGED"
    monkeypatch.setattr(Conditional, "loses_answers", True)
    assert promote(registry, a_bundle(3)).revision == 3
    assert registry.get("shoes").current == a_bundle(3).fingerprint


def test_a_url_that_cannot_be_used_is_the_registry_s_fault_and_shows_no_password() -> None:
    with pytest.raises(InvalidArgument) as raised:
        Registry("nosuch://me:secret@host/models")
    assert raised.value.field == "registry"
    assert "secret" not in raised.value.message


def test_files_of_others_in_the_registry_are_passed_over(tmp_path: Path) -> None:
    promote(Registry(str(tmp_path)), a_bundle())
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "notes").touch()
    (tmp_path / "Old Models").mkdir()
    (tmp_path / "empty").mkdir()
    assert Registry(str(tmp_path)).names() == ["shoes"]


# What a person means by a name


def test_a_folder_then_the_registry_then_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped, first, second, own = a_bundle(1), a_bundle(2), a_bundle(3), a_bundle(4)
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "shipped")
    bundles.save(shipped, tmp_path / "shipped" / "shoes")
    bundles.save(own, tmp_path / "own")
    url = str(tmp_path / "models")
    assert find_bundle("shoes", None).fingerprint == shipped.fingerprint
    assert find_bundle("shoes", url).fingerprint == shipped.fingerprint
    for bundle in (first, second):
        promote(Registry(url), bundle)
    assert find_bundle("shoes", url).fingerprint == second.fingerprint
    assert find_bundle(f"shoes@{first.fingerprint}", url).fingerprint == first.fingerprint
    assert find_bundle(f"shoes@{shipped.fingerprint}", url).fingerprint == shipped.fingerprint
    assert find_bundle("shoes", None).fingerprint == shipped.fingerprint
    assert find_bundle(str(tmp_path / "own"), url).fingerprint == own.fingerprint


def test_a_version_whose_files_were_deleted_is_the_shipped_one_or_said_to_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, other, current = a_bundle(1), a_bundle(2), a_bundle(3)
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "shipped")
    bundles.save(shipped, tmp_path / "shipped" / "shoes")
    registry = Registry(str(tmp_path / "models"))
    for bundle in (shipped, other, current):
        promote(registry, bundle)
    for bundle in (shipped, other):
        retire(registry, "shoes", bundle.fingerprint, delete=True)
    assert find_bundle(f"shoes@{shipped.fingerprint}", registry.url).fingerprint == shipped.fingerprint
    with pytest.raises(NotFound, match="files were deleted"):
        find_bundle(f"shoes@{other.fingerprint}", registry.url)


@pytest.mark.parametrize("asked", ["hats", "shoes@0123456789abcdef", "shoes@12", "No Such", "./folder", ""])
def test_what_is_nowhere_is_not_found_and_what_there_is_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "shipped")
    promote(Registry(str(tmp_path / "models")), a_bundle())
    bundles.save(replace(a_bundle(), name="bags"), tmp_path / "shipped" / "bags")
    with pytest.raises(NotFound, match="bags, shoes"):
        find_bundle(asked, str(tmp_path / "models"))


def test_names_with_versions_are_read_strictly() -> None:
    assert registries.parse_version("shoes@0123456789abcdef") == ("shoes", "0123456789abcdef")
    for wrong in ("shoes@", "shoes@0123456789ABCDEF", "@0123456789abcdef", "Shoes"):
        with pytest.raises(InvalidArgument):
            registries.parse_version(wrong)
