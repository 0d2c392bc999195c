"""Settings say what they are, and a wrong one is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedder.settings import EmbedderSettings
from lookalike.runtime.settings import load_settings


def test_every_setting_is_described_and_named_for_its_service() -> None:
    for name, field in EmbedderSettings.model_fields.items():
        assert field.description, name
        assert name.startswith(("embedder_", "log_")), name


def test_models_are_a_list_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_MODELS", os.pathsep.join(("/a/b", "/c")))
    assert load_settings(EmbedderSettings).embedder_models == (Path("/a/b"), Path("/c"))


def test_cores_are_those_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 7}, raising=False)
    assert EmbedderSettings().cores == 3
    monkeypatch.setenv("LOOKALIKE_EMBEDDER_CORES", "2")
    assert EmbedderSettings().cores == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EMBEDDER_DEVICE", "tpu"), ("EMBEDDER_ADDRESS", "nowhere"), ("EMBEDDER_BATCH_IMAGES", "0"),
        ("EMBEDDER_QUEUE_IMAGES", "31"), ("EMBEDDER_MAX_IMAGE_BYTES", "30000000"), ("EMBEDDER_MODELS", os.pathsep),
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
