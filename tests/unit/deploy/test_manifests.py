"""The Kubernetes manifests, read as files: what they say of settings, ports, labels and times is what the services say.

Whether they are valid is asked by `deploy/checks/kubernetes.sh`, which needs kubectl and two more tools.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedder.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from indexer.settings import IndexerSettings
from lookalike.runtime.environment import PREFIX, ServiceSettings

ROOT = Path(__file__).parents[3]
K8S = ROOT / "deploy" / "k8s"
SETTINGS: dict[str, type[ServiceSettings]] = {
    "embedder": EmbedderSettings,
    "indexer": IndexerSettings,
    "gateway": GatewaySettings,
}
OVERLAYS = ("single-node", "production")
COMMAND = {"LOOKALIKE_ADDRESS", "LOOKALIKE_REGISTRY"}
"""What the command `lookalike` reads, which is there in every image."""
NAME = "app.kubernetes.io/name"
WORKLOADS = ("Deployment", "StatefulSet")


@dataclass(frozen=True, slots=True)
class Document:
    path: Path
    content: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.content["kind"])

    @property
    def name(self) -> str:
        return str(self.content["metadata"]["name"])

    @property
    def pod(self) -> dict[str, Any]:
        return dict(self.content["spec"]["template"]["spec"])

    @property
    def pod_labels(self) -> dict[str, str]:
        return dict(self.content["spec"]["template"]["metadata"]["labels"])

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.pod["containers"][0]["ports"]}

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@cache
def kustomizations() -> tuple[tuple[Path, dict[str, Any]], ...]:
    return tuple((path, yaml.safe_load(path.read_text())) for path in sorted(K8S.rglob("kustomization.yaml")))


@cache
def resources() -> tuple[Document, ...]:
    """Every document that a kustomization names as a resource; no patches."""
    return tuple(
        Document(path.parent / name, content)
        for path, kustomization in kustomizations()
        for name in kustomization.get("resources", ())
        if name.endswith(".yaml")
        for content in yaml.safe_load_all((path.parent / name).read_text())
    )


def of_kind(*kinds: str) -> list[Document]:
    found = [document for document in resources() if document.kind in kinds]
    assert found, f"there is no {' or '.join(kinds)}"
    return found


def one(kind: str, name: str) -> Document:
    (found,) = (document for document in of_kind(kind) if document.name == name)
    return found


def container(service: str) -> dict[str, Any]:
    return dict(one("Deployment", service).pod["containers"][0])


def env_file(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def mappings(value: object) -> Iterator[dict[str, Any]]:
    """`value` and what is in it, as far as it is a mapping."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(part)


def variables() -> list[tuple[Path, dict[str, Any]]]:
    """Every variable of every container, those that patches add too."""
    return [
        (path, mapping)
        for path in sorted(K8S.rglob("*.yaml"))
        for content in yaml.safe_load_all(path.read_text())
        for mapping in mappings(content)
        if re.fullmatch(r"[A-Z][A-Z0-9_]+", str(mapping.get("name"))) and {"value", "valueFrom"} & mapping.keys()
    ]


def environment(overlay: str, service: str) -> dict[str, str]:
    """What `service` is started with, secrets left out."""
    folder = K8S / "overlays" / overlay
    used = [folder / name for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["components"]]
    files = [K8S / "base" / "lookalike.env", *(file for one in used for file in one.glob("*.env")), folder / "lookalike.env"]
    merged = {name: value for file in files for name, value in env_file(file).items()}
    own = {item["name"]: item["value"] for item in container(service)["env"] if "value" in item}
    return merged | own


def test_every_variable_is_a_setting_of_some_service() -> None:
    known = {f"{PREFIX}{field.upper()}" for cls in SETTINGS.values() for field in cls.model_fields} | COMMAND
    named = {variable["name"] for _, variable in variables()} | {name for file in K8S.rglob("*.env") for name in env_file(file)}
    ours = {name for name in named if name.startswith(PREFIX)}
    assert len(ours) > 10
    assert ours <= known, f"no service knows {sorted(ours - known)}"


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("service", SETTINGS)
def test_services_accept_the_settings_that_they_get(overlay: str, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment(overlay, service)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for field, value in SETTINGS[service]().model_dump().items():
        if expected := given.get(f"{PREFIX}{field.upper()}"):
            assert (",".join(value) if isinstance(value, tuple) else str(value)) == expected


@pytest.mark.parametrize("service", SETTINGS)
def test_ports_that_are_set_are_ports_that_are_open(service: str) -> None:
    given = environment("single-node", service)
    for name, value in given.items():
        if name.startswith(f"{PREFIX}{service.upper()}_") and name.endswith(("_PORT", "_ADDRESS")):
            assert int(value.rpartition(":")[2]) in one("Deployment", service).ports.values(), name


def test_the_base_calls_services_that_are_there() -> None:
    addresses = env_file(K8S / "base" / "lookalike.env")
    for name in ("EMBEDDER_TARGET", "MILVUS_URI", "REDIS_URL", "ADDRESS"):
        host, port = re.fullmatch(r"(?:\w+://)?([\w-]+):(\d+)(?:/\d+)?", addresses[PREFIX + name]).groups()  # type: ignore[union-attr]
        assert int(port) in [item["port"] for item in one("Service", host).content["spec"]["ports"]], name
    # A cluster address would tie all calls of a client to one pod.
    assert one("Service", "embedder").content["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(
    ("service", "drain_s"),
    [
        ("embedder", EmbedderSettings.model_fields["embedder_drain_s"].default),
        # `indexer.__main__`: chunks are given back after once the time, and twice and five seconds are the end of it.
        ("indexer", IndexerSettings.model_fields["indexer_drain_s"].default * 2 + 5),
        ("gateway", GatewaySettings.model_fields["gateway_drain_s"].default),
    ],
)
def test_a_pod_is_not_killed_while_it_drains(service: str, drain_s: float) -> None:
    sleep_s = container(service).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert one("Deployment", service).pod["terminationGracePeriodSeconds"] > sleep_s + drain_s
    # A pod that is called through DNS or a Service's rules goes on answering until those have forgotten it.
    assert (sleep_s >= 5) == any(document.content["spec"]["selector"][NAME] == service for document in of_kind("Service"))


@pytest.mark.parametrize("service", SETTINGS)
def test_probes_ask_the_right_question_at_a_port_that_is_open(service: str) -> None:
    probes = {kind: container(service)[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")}
    # Where calls go, an overload would refuse the probe, and the kubelet restart what is only busy.
    assert {probe["port"] for probe in probes.values()} == {one("Deployment", service).ports["health"]}
    # A restart repairs no dependency.
    assert {kind: probe.get("service", "") for kind, probe in probes.items()} == {
        "startup": "liveness",
        "liveness": "liveness",
        "readiness": "",
    }


@pytest.mark.parametrize("document", of_kind(*WORKLOADS), ids=str)
def test_a_workload_selects_its_own_pods(document: Document) -> None:
    selector = document.content["spec"]["selector"]["matchLabels"]
    assert selector == {NAME: document.name}
    assert selector.items() <= document.pod_labels.items()
    for constraint in document.pod.get("topologySpreadConstraints", ()):
        assert constraint["labelSelector"]["matchLabels"] == selector


@pytest.mark.parametrize("document", of_kind("Service", "PodDisruptionBudget", "PodMonitor"), ids=str)
def test_what_selects_pods_finds_pods_and_their_ports(document: Document) -> None:
    spec = document.content["spec"]
    selector = spec["selector"] if document.kind == "Service" else spec["selector"]["matchLabels"]
    (pods,) = [workload for workload in of_kind(*WORKLOADS) if selector.items() <= workload.pod_labels.items()]
    assert {port["targetPort"] for port in spec.get("ports", ())} <= pods.ports.keys()
    assert {endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", ())} <= pods.ports.keys()


def test_pod_monitors_name_jobs_and_ports_as_prometheus_looks_for_them() -> None:
    """Rules and dashboards know services by `job`, which the operator makes NAMESPACE/NAME of where nothing else says."""
    scraped = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yaml").read_text())["scrape_configs"]
    expected = {
        found["names"][0]: (job["job_name"], found["port"]) for job in scraped for found in job.get("dns_sd_configs", ())
    }
    assert len(expected) == 3
    scraped = {
        document.name: (relabeling["replacement"], one("Deployment", document.name).ports[endpoint["port"]])
        for document in of_kind("PodMonitor")
        for endpoint in document.content["spec"]["podMetricsEndpoints"]
        for relabeling in endpoint.get("relabelings", ())
        if relabeling["targetLabel"] == "job" and relabeling.keys() == {"targetLabel", "replacement"}
    }
    assert scraped == expected


@pytest.mark.parametrize("document", of_kind("NetworkPolicy"), ids=str)
def test_network_policies_name_pods_and_ports_that_are_there(document: Document) -> None:
    names = {workload.name for workload in of_kind(*WORKLOADS)}
    ports = {port for workload in of_kind(*WORKLOADS) for port in workload.ports.values()}
    outside = {53, 80, 443, 4317, 26379}  # of the last, Sentinels
    for mapping in mappings(document.content["spec"]):
        assert {mapping[NAME]} <= names if NAME in mapping else True
        assert set(mapping["values"]) <= names if "values" in mapping else True
        assert mapping["port"] in ports | outside if "port" in mapping else True


@pytest.mark.parametrize("document", of_kind("HorizontalPodAutoscaler", "ScaledObject"), ids=str)
def test_autoscalers_scale_a_deployment(document: Document) -> None:
    assert one("Deployment", document.content["spec"]["scaleTargetRef"]["name"])


@pytest.mark.parametrize("document", of_kind(*WORKLOADS), ids=str)
def test_pods_keep_to_the_restricted_standard(document: Document) -> None:
    pod, (only,) = document.pod, document.pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert one("ServiceAccount", pod["serviceAccountName"]).content["automountServiceAccountToken"] is False
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= only["resources"]["limits"].keys() & only["resources"]["requests"].keys()


def test_there_is_no_secret_in_the_manifests() -> None:
    assert not [document for document in resources() if document.kind == "Secret"]
    secret = re.compile(r"PASSWORD|TOKEN|SECRET|ACCESS_KEY|AUTH$")
    for path, variable in variables():
        if secret.search(variable["name"]) and not variable["name"].endswith("_FILE"):
            assert "secretKeyRef" in variable["valueFrom"], f"{path}: {variable['name']}"
    for file in K8S.rglob("*.env"):
        for name, value in env_file(file).items():
            assert not secret.search(name), f"{file}: {name}"
            assert not re.search(r"//[^/]*@", value), f"{file}: {name} may hold a password"


def test_labels_and_image_tags_are_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    base = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text())
    assert base["labels"][0]["pairs"]["app.kubernetes.io/version"] == version
    for overlay in OVERLAYS:
        images = yaml.safe_load((K8S / "overlays" / overlay / "kustomization.yaml").read_text())["images"]
        assert {image["name"]: image["newTag"] for image in images} == {
            f"lookalike/{name}": version for name in ("embedder", "embedder-gpu", "indexer", "gateway")
        }


def test_every_file_is_named_by_its_kustomization() -> None:
    for path, kustomization in kustomizations():
        named = {*kustomization.get("resources", ()), *(patch.get("path") for patch in kustomization.get("patches", ()))}
        named |= {file for generator in kustomization.get("configMapGenerator", ()) for file in generator.get("envs", ())}
        there = {file.name for file in path.parent.iterdir() if file.is_file()} - {"kustomization.yaml"}
        assert there <= named, f"{path.parent} does not use {sorted(there - named)}"


def test_the_operators_rules_are_those_that_prometheus_is_given() -> None:
    folder = Path(__file__).parents[3] / "deploy" / "observability"
    plain = yaml.safe_load((folder / "rules" / "lookalike.rules.yaml").read_text())
    rule = yaml.safe_load((folder / "prometheus-rule.yaml").read_text())
    assert rule["spec"] == plain
