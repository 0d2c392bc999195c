"""`lookalike models` as a person types it: what is printed where, what is asked, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from embedder.commands.models import registry_url
from embedder.models import bundle as bundles
from embedder.models.bundle import Bundle, DataSummary
from embedder.registry.registry import Registry
from lookalike.cli import exits
from lookalike.cli.main import run_command
from lookalike.v1 import collection_service_pb2, image_pb2
from tests.messages import made
from tests.servers.embedder import random_bundle
from tests.unit.lookalike.fake_gateway import FakeGateway, gateway

__all__ = ["gateway"]

DATA = DataSummary("things", 10, 2, digest="d" * 16)


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Models = Callable[..., Said]


@pytest.fixture(autouse=True)
def _nothing_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("LOOKALIKE_REGISTRY", str(tmp_path / "models"))


@pytest.fixture
def models(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> Models:
    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = run_command(["--address", gateway.target, "models", *arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


def a_folder(tmp_path: Path, seed: int, p_at_5: float, name: str = "shoes") -> tuple[str, Bundle]:
    base = random_bundle(name)
    weights = (base.weights[0] + seed, *base.weights[1:])
    bundle = replace(base, weights=weights, metrics={"p_at_5": p_at_5, "p_at_1": 0.25}, measured_on=DATA)
    bundles.save(bundle, tmp_path / f"bundle-{seed}")
    return str(tmp_path / f"bundle-{seed}"), bundle


def test_from_the_first_promotion_to_a_retired_version(models: Models, gateway: FakeGateway, tmp_path: Path) -> None:
    (first, one), (second, two), (worse, _) = (a_folder(tmp_path, n, p) for n, p in ((1, 0.5), (2, 0.6), (3, 0.55)))
    said = models("promote", first)
    assert said.code == exits.OK, said.err
    assert f"shoes now means {one.fingerprint}" in said.out
    assert "at their next look" in said.err

    said = models("promote", second)
    assert said.code == exits.OK, said.err
    assert "+0.1000" in said.out
    assert f"no longer {one.fingerprint}" in said.out

    said = models("promote", worse)
    assert said.code == exits.WRONG_STATE
    assert "-0.0500" in said.out
    assert "p_at_5 0.5500 against 0.6000 on things" in said.err
    assert models("promote", second).err.count("nothing to do") == 1

    said = models("list")
    rows = [line.split() for line in said.out.splitlines() if "shoes" in line]
    assert [(row[1], row[2]) for row in rows] == [(two.fingerprint, "current"), (one.fingerprint, "live")]
    assert "P@5 0.6000" in said.out

    older = f"shoes@{one.fingerprint}"
    said = models("retire", older, "--reason", "nobody uses it")
    assert (said.code, said.out) == (exits.OK, f"retired {older}; its files stay\n")
    said = models("show", "shoes")
    assert f"shoes@{two.fingerprint}  current, from registry" in said.out
    assert said.out.index("retired") < said.out.index("nobody uses it") < said.out.index("the first of its name")
    assert models("show", older).out.startswith(f"{older}  retired")

    said = models("promote", older, "--force", "--reason", "back again")
    assert said.code == exits.OK, said.err
    assert f"shoes now means {one.fingerprint}" in said.out


def test_json_is_for_programs_and_nothing_else_is_on_standard_output(models: Models, tmp_path: Path) -> None:
    (first, one), (second, two) = a_folder(tmp_path, 1, 0.5), a_folder(tmp_path, 2, 0.6)
    assert json.loads(models("promote", first, "--json").out)["fingerprint"] == one.fingerprint
    change = json.loads(models("promote", second, "--json").out)
    assert (change["previous"], change["comparison"]["new"]["p_at_5"]) == (one.fingerprint, 0.6)
    listed = json.loads(models("list", "--json").out)
    assert listed["registry"] == str(tmp_path / "models")
    assert [(m["name"], m["fingerprint"], m["state"]) for m in listed["models"]] == [
        ("shoes", two.fingerprint, "current"),
        ("shoes", one.fingerprint, "live"),
    ]
    shown = json.loads(models("show", "shoes", "--json").out)
    assert (shown["fingerprint"], shown["state"], shown["tower"]["backbone"]) == (two.fingerprint, "current", "conv")
    assert [change["action"] for change in shown["history"]] == ["promote", "promote"]


def test_what_ships_is_listed_beside_the_registry_and_what_cannot_be_read_is_named(models: Models, tmp_path: Path) -> None:
    shipped = replace(random_bundle("bags"), metrics={"r_at_1_mean": 0.975})
    bundles.save(shipped, bundles.SHIPPED / "bags")
    (bundles.SHIPPED / "hats").mkdir()
    (bundles.SHIPPED / "hats" / bundles.CARD).write_text("{}")
    said = models("list")
    assert said.code == exits.OK
    (row,) = [line.split() for line in said.out.splitlines() if "bags" in line]
    assert row[1:4] == [shipped.fingerprint, "current", "shipped"]
    assert "R@1 after attacks 0.9750" in said.out
    assert "the shipped model hats cannot be read" in said.err
    said = models("retire", f"bags@{shipped.fingerprint}")
    assert said.code == exits.WRONG_STATE
    assert "LOOKALIKE_EMBEDDER_MODELS" in said.err


def test_a_version_that_collections_use_is_not_retired_unless_by_force(
    models: Models, gateway: FakeGateway, tmp_path: Path
) -> None:
    (first, one), (second, _) = a_folder(tmp_path, 1, 0.5), a_folder(tmp_path, 2, 0.6)
    models("promote", first)
    models("promote", second)
    older = f"shoes@{one.fingerprint}"
    used, others = (
        [{"name": "siamese", "metric": image_pb2.METRIC_COSINE, "fingerprint": one.fingerprint, "model": {"name": model}}]
        for model in ("shoes", "other")
    )
    for name, spaces, kept in (("autumn", used, []), ("spring", others, []), ("winter", others, used)):
        other = {"state": collection_service_pb2.OTHER_GENERATION_STATE_PREVIOUS, "spaces": kept} if kept else None
        gateway.collections[name] = made(collection_service_pb2.Collection, name=name, spaces=spaces, other=other)
    said = models("retire", older)
    assert said.code == exits.WRONG_STATE
    assert "is used by 2 collections (autumn, winter)" in said.err
    assert models("retire", older, "--force").code == exits.INVALID, "--force needs a reason"
    assert Registry(str(tmp_path / "models")).get("shoes").revision == 2
    assert models("retire", older, "--force", "--reason", "autumn goes too").code == exits.OK
    change = Registry(str(tmp_path / "models")).history("shoes")[-1]
    assert (change.action, change.forced, change.reason) == ("retire", True, "autumn goes too")


def test_nothing_is_retired_where_its_use_is_not_known(models: Models, tmp_path: Path) -> None:
    (first, one), (second, _) = a_folder(tmp_path, 1, 0.5), a_folder(tmp_path, 2, 0.6)
    models("promote", first)
    models("promote", second)
    older = f"shoes@{one.fingerprint}"
    said = models("retire", older, "--address", "127.0.0.1:1")
    assert said.code == exits.WRONG_STATE
    assert "--address" in said.err
    assert models("retire", older, "--delete").code == exits.INVALID, "nobody can be asked, and files are lost"
    assert Registry(str(tmp_path / "models")).get("shoes").revision == 2
    said = models("retire", older, "--address", "127.0.0.1:1", "--force", "--reason", "gone", "--delete", "--yes")
    assert said.code == exits.OK, said.err
    assert not (tmp_path / "models" / "shoes" / one.fingerprint).exists()
    assert models("show", older).code == exits.NOT_FOUND
    (row,) = [line for line in models("list").out.splitlines() if one.fingerprint in line]
    assert "retired, deleted" in row
    assert "MB" not in row
    listed = {version["fingerprint"]: version for version in json.loads(models("list", "--json").out)["models"]}
    assert (listed[one.fingerprint]["deleted"], listed[one.fingerprint]["size_bytes"]) == (True, 0)


def test_the_help_names_what_decides(models: Models) -> None:
    said = " ".join(models("promote", "--help").out.split())
    assert "P@5 decides" in said
    assert "mean R@1" in said


def test_what_the_name_means_is_not_retired(models: Models, tmp_path: Path) -> None:
    folder, bundle = a_folder(tmp_path, 1, 0.5)
    models("promote", folder)
    said = models("retire", f"shoes@{bundle.fingerprint}")
    assert said.code == exits.WRONG_STATE
    assert "promote another version first" in said.err


def test_a_bundle_that_cannot_be_served_is_not_promoted(models: Models, tmp_path: Path) -> None:
    _, bundle = a_folder(tmp_path, 1, 0.5)
    bundles.save(replace(bundle, weights=bundle.weights[1:]), tmp_path / "short")
    said = models("promote", str(tmp_path / "short"))
    assert said.code == exits.WRONG_STATE
    assert "do not fit its tower" in said.err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("promote", "nowhere"), exits.NOT_FOUND, "nowhere"),
        (("promote", "x", "--force"), exits.INVALID, "--reason"),
        (("promote", "x", "--attacks"), exits.INVALID, "--on"),
        (("show", "nothing"), exits.NOT_FOUND, "the models are: none"),
        (("retire", "shoes"), exits.INVALID, "names no version"),
        (("retire", "shoes@1"), exits.INVALID, "16 hex digits"),
        (("retire", "shoes@0123456789abcdef"), exits.NOT_FOUND, "shoes"),
        (("list", "--registry", "nosuch://x"), exits.INVALID, "nosuch"),
    ],
)
def test_what_is_wrong_is_one_line(models: Models, arguments: tuple[str, ...], code: int, expected: str) -> None:
    said = models(*arguments)
    assert (said.code, said.out, said.err.count("\n")) == (code, "", 1)
    assert expected in said.err


def test_the_registry_is_the_one_named_else_that_of_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("LOOKALIKE_DATA", raising=False)
    assert registry_url(None) == "/home/me/.lookalike/models"
    monkeypatch.setenv("LOOKALIKE_DATA", "/srv/data")
    assert registry_url(None) == "/srv/data/models"
    assert registry_url("s3://bucket/models") == "s3://bucket/models"
