"""Settings and the bundles they name are checked before anything starts, and what is wrong is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedder import settings
from embedder.__main__ import read_bundles
from embedder.models import bundle as bundles
from embedder.settings import EmbedderSettings
from lookalike.errors import FailedPrecondition
from lookalike.runtime.environment import load_settings
from tests.servers.embedder import random_bundle


def test_every_setting_is_described_and_named_for_its_service() -> None:
    for name, field in EmbedderSettings.model_fields.items():
        assert field.description, name
        assert name.startswith(("embedder_", "log_", "otlp_", "trace_")), name


def test_models_are_a_list_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_MODELS", os.pathsep.join(("/a/b", "/c")))
    assert load_settings(EmbedderSettings).embedder_models == (Path("/a/b"), Path("/c"))


def test_cores_are_those_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "usable_cores", lambda: 3)
    assert EmbedderSettings().cores == 3
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_CORES", "2")
    assert EmbedderSettings().cores == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMBEDDER_DEVICE", "tpu"), ("EMBEDDER_ADDRESS", "nowhere"), ("EMBEDDER_BATCH_IMAGES", "0"),
        ("EMBEDDER_QUEUE_IMAGES", "31"), ("EMBEDDER_MAX_IMAGE_BYTES", "30000000"), ("EMBEDDER_MODELS", os.pathsep),
        ("EMBEDDER_REGISTRY_POLL_S", "0"), ("EMBEDDER_ENGINE", "onnx"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"LOOKALIKE_{name}", value)
    with pytest.raises(SystemExit) as ended:
        load_settings(EmbedderSettings)
    assert ended.value.code == 2
    assert f"LOOKALIKE_{name}" in capsys.readouterr().err


def test_by_default_the_shipped_models_are_served_photo_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "SHIPPED", tmp_path)
    bundles.save(random_bundle("fashion"), tmp_path / "fashion")
    assert EmbedderSettings().embedder_models == (tmp_path / "fashion",)
    bundles.save(random_bundle("photo"), tmp_path / "photo")
    assert EmbedderSettings().embedder_models == (tmp_path / "photo", tmp_path / "fashion")


def test_bundles_of_one_name_are_refused_and_so_are_none(tmp_path: Path) -> None:
    for name in ("a", "b"):
        bundles.save(random_bundle("small"), tmp_path / name)
    assert [bundle.name for bundle in read_bundles([tmp_path / "b"])] == ["small"]
    with pytest.raises(FailedPrecondition, match="two bundles are called 'small'"):
        read_bundles([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(FailedPrecondition, match="LOOKALIKE_EMBEDDER_MODELS"):
        read_bundles([])


def test_openvino_and_a_gpu_are_not_asked_for_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_ENGINE", "openvino")
    assert load_settings(EmbedderSettings).embedder_device == "auto"
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_DEVICE", "gpu")
    with pytest.raises(SystemExit):
        load_settings(EmbedderSettings)
    assert "LOOKALIKE_EMBEDDER_ENGINE" in capsys.readouterr().err
