"""Compose files agree with the services' settings and with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings

from embedder.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from indexer.settings import IndexerSettings
from lookalike.runtime.environment import PREFIX

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
OURS: dict[str, type[BaseSettings]] = {
    "embedder": EmbedderSettings,
    "embedder-gpu": EmbedderSettings,
    "indexer": IndexerSettings,
    "gateway": GatewaySettings,
}
_OF_THE_COMMAND = {"LOOKALIKE_REGISTRY", "LOOKALIKE_ADDRESS"}


def services(name: str = "compose.yaml") -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / name).read_text())["services"])


def test_what_the_services_are_given_are_settings_of_theirs() -> None:
    for name in ("compose.yaml", "compose.secrets.yaml", "compose.sources.yaml"):
        for service, what in services(name).items():
            if service in OURS:
                known = {f"{PREFIX}{field.upper()}" for field in OURS[service].model_fields}
                assert set(what.get("environment", {})) - known <= _OF_THE_COMMAND


def test_the_dockerfile_sets_what_is_a_setting() -> None:
    known = {f"{PREFIX}{field.upper()}" for settings in OURS.values() for field in settings.model_fields}
    named = set(re.findall(r"\b(LOOKALIKE_[A-Z_]+)=", (DEPLOY / "Dockerfile").read_text()))
    assert named
    assert named <= known


def test_our_services_can_write_nothing_but_what_they_must() -> None:
    for service in OURS:
        one = services()[service]
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["tmpfs"] == ["/tmp"]


def test_everything_has_a_limit_and_every_port_stays_on_this_machine() -> None:
    for service, one in services().items():
        assert one["deploy"]["resources"]["limits"]["memory"], service
        for port in one.get("ports", ()):
            assert port.startswith("127.0.0.1:"), service


def test_a_container_gets_the_time_that_its_drain_takes() -> None:
    seconds = {service: int(one["stop_grace_period"].rstrip("s")) for service, one in services().items() if service in OURS}

    def drain_s(service: str) -> float:
        return float(OURS[service].model_fields[f"{service.partition('-')[0]}_drain_s"].default)

    assert seconds["embedder"] > drain_s("embedder")
    assert seconds["embedder-gpu"] > drain_s("embedder-gpu")
    assert seconds["gateway"] > drain_s("gateway")
    assert seconds["indexer"] > 2 * drain_s("indexer") + 5  # what `indexer.__main__` gives itself


def test_the_images_have_the_packages_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for service in OURS:
        assert services()[service]["image"] == f"lookalike/{service}:{version}"
    assert f'image.version="{version}"' in (DEPLOY / "Dockerfile").read_text()
