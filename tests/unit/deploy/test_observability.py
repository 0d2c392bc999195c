"""Rules, dashboards and what scrapes agree with each other. What Prometheus makes of them is asked in tests/e2e."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

OBSERVABILITY = Path(__file__).parents[3] / "deploy" / "observability"


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
