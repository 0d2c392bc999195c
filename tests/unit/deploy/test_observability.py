"""Rules, dashboards and what scrapes agree with each other. What Prometheus makes of them is asked in tests/e2e."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
OBSERVABILITY = DEPLOY / "observability"


def jobs() -> set[str]:
    """What Prometheus calls our services."""
    scraped = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())["scrape_configs"]
    return {one["job_name"] for one in scraped if one["job_name"].startswith("lookalike-")}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OBSERVABILITY / "rules" / "lookalike.rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_rules_and_panels_name_jobs_that_are_scraped() -> None:
    files = [OBSERVABILITY / "rules" / "lookalike.rules.yaml", *(OBSERVABILITY / "grafana" / "dashboards").glob("*.json")]
    named = {job for file in files for job in re.findall(r'job=\\?"([\w-]+)\\?"', file.read_text())}
    assert named
    assert named <= jobs()


def test_the_alert_for_a_service_that_is_down_knows_every_service_by_name() -> None:
    """A process that is gone leaves no `up` behind that could be 0."""
    (down,) = (rule for rule in rules() if rule.get("alert") == "LookalikeServiceDown")
    assert set(re.findall(r'absent\(up\{job="([\w-]+)"\}\)', down["expr"])) == jobs()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
def test_the_block_that_names_an_alertmanager_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    (block,) = re.findall(r"^# alerting:\n(?:#   .*\n)+", (OBSERVABILITY / "prometheus.yaml").read_text(), re.MULTILINE)
    config = tmp_path / "prometheus.yaml"
    config.write_text(re.sub(r"^# ", "", block, flags=re.MULTILINE))
    assert yaml.safe_load(config.read_text())["alerting"]["alertmanagers"]
    done = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_where_the_alert_for_recall_is_loaded_recall_is_sampled() -> None:
    name = "LOOKALIKE_GATEWAY_RECALL_SAMPLE_RATIO"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gateway"]["environment"]
    component = (DEPLOY / "k8s" / "components" / "observability" / "observability.env").read_text()
    (in_cluster,) = re.findall(rf"^{name}=(.+)$", component, re.MULTILINE)
    for ratio in (compose[name], in_cluster):
        assert 0 < float(ratio) <= 0.05, "enough to show a trend, and not much of Milvus' time"


def test_the_patch_for_the_label_that_the_operator_may_want_is_for_all_that_the_operator_reads() -> None:
    readme = (DEPLOY / "k8s" / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(patches:\n[^`]*PrometheusRule[^`]*)```", readme)
    (patch,) = yaml.safe_load(block)["patches"]
    files = [*(DEPLOY / "k8s" / "components" / "observability").glob("*.yaml"), *OBSERVABILITY.glob("*.yaml")]
    documents = [one for file in files for one in yaml.safe_load_all(file.read_text())]
    read = {one["kind"] for one in documents if one.get("apiVersion", "").startswith("monitoring.coreos.com/")}
    assert set(patch["target"]["kind"].split("|")) == read
    assert yaml.safe_load(patch["patch"])["metadata"]["labels"].keys() == {"release"}
