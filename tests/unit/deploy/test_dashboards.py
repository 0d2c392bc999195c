"""Dashboards, read as files: what Grafana takes, and queries that mean what their titles say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

GRAFANA = Path(__file__).parents[3] / "deploy" / "observability" / "grafana"
RULES = GRAFANA.parent / "rules" / "lookalike.rules.yaml"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
UNITS = {"none", "s", "bytes", "percentunit", "reqps"}
"""Grafana's ids of units (`getCategories` in its package grafana-data), those that are used."""


def dashboard(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def panels() -> list[dict[str, Any]]:
    return [panel for path in DASHBOARDS for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def panel(title: str) -> dict[str, Any]:
    (found,) = (one for one in panels() if one["title"] == title)
    return found


def recorded() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def grouping(expression: str) -> set[str] | None:
    """The labels of an answer to `expression`: those of its outermost grouping, or of the rule that it names. None where only
    Prometheus knows them: all labels of a metric."""
    if match := re.search(r"\bby \(([^)]*)\)", expression):
        return set(re.findall(r"\w+", match[1])) - {"le"}
    if name := re.match(r"[a-z0-9_]+:[a-z0-9_:]+", expression):
        return grouping(recorded()[name[0]])
    return set() if re.search(r"\b(sum|max|min|count)\(", expression) else None


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_takes(path: Path) -> None:
    """By its documented model (kinds/dashboard/dashboard_kind.cue and the panels' own of grafana/grafana)."""
    read = dashboard(path)
    assert re.fullmatch(r"[\w-]{8,40}", read["uid"])
    assert max(Counter(one["id"] for one in read["panels"]).values()) == 1
    taken: set[tuple[int, int]] = set()
    for one in read["panels"]:
        at = one["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24, one["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{one['title']} lies on another panel"
        taken |= cells


@pytest.mark.parametrize("one", panels(), ids=lambda one: one["title"])
def test_a_panel_is_one_that_grafana_takes(one: dict[str, Any]) -> None:
    assert one["type"] in ("timeseries", "stat")
    assert one["title"]
    assert one["description"]
    assert one["fieldConfig"]["defaults"]["unit"] in UNITS
    refs = [target["refId"] for target in one["targets"]]
    assert refs == sorted(set(refs))
    for asked in (one, *one["targets"]):
        assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for step in one["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])[:1]:
        assert step["value"] is None, "the lowest step begins nowhere"
    if one["type"] == "timeseries":
        assert one["options"]["legend"]["showLegend"] is True, "without it there is none"
    else:
        assert one["options"]["reduceOptions"]["calcs"] == ["lastNotNull"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_data_source_that_is_chosen_first_is_the_one_that_is_provisioned(path: Path) -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (variable,) = dashboard(path)["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", source["type"])
    assert variable["current"] == {"text": source["name"], "value": source["uid"]}


@pytest.mark.parametrize("one", panels(), ids=lambda one: one["title"])
def test_a_legend_distinguishes_the_series_of_a_query(one: dict[str, Any]) -> None:
    for target in one["targets"]:
        shown, labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])), grouping(target["expr"])
        assert labels is None or shown == labels, target["expr"]


@pytest.mark.parametrize("one", panels(), ids=lambda one: one["title"])
def test_what_each_process_has_a_limit_for_is_not_added_up(one: dict[str, Any]) -> None:
    """A setting is a process' own: what several have together says nothing of it."""
    if re.search(r"LOOKALIKE_\w+_(IMAGES|BYTES|CALLS|THREADS)\b", one["description"]):
        assert not any(re.match(r"\s*sum\b", target["expr"]) for target in one["targets"])


# Two of each service, and what a panel shows then: by the `refId` of its query, values by labels.
SHOWN: dict[str, tuple[dict[str, str], dict[str, dict[str, float]]]] = {
    "Pictures admitted, fullest embedder": (
        {
            'lookalike_embedder_admitted_images{instance="a", lane="interactive"}': "300x5",
            'lookalike_embedder_admitted_images{instance="b", lane="interactive"}': "400x5",
            'lookalike_embedder_admitted_images{instance="b", lane="bulk"}': "5x5",
        },
        {"A": {'{lane="interactive"}': 400, '{lane="bulk"}': 5}},
    ),
    "Versions of models served": (
        {
            f'lookalike_embedder_model_info{{instance="{instance}", model="{model}", fingerprint="{version}"}}': "1x5"
            for instance in "ab"
            for model, version in (("photo", 1), ("photo", 2), ("fashion", 3))
        },
        {"A": {'{model="photo"}': 2, '{model="fashion"}': 1}},
    ),
    "Embedders": (
        {'lookalike_embedder_warm{instance="a"}': "1x5", 'lookalike_embedder_warm{instance="b"}': "0x5"},
        {"A": {"{}": 2}, "B": {"{}": 1}},
    ),
    "Versions of models not loaded": (
        {
            'lookalike_embedder_model_not_loaded{instance="a", model="mine", reason="INTERNAL"}': "1x5",
            'lookalike_embedder_model_not_loaded{instance="b", model="mine", reason="INTERNAL"}': "1x5",
        },
        {"A": {'{model="mine", reason="INTERNAL"}': 1}},
    ),
    "Chunks waiting": (
        {'lookalike_ingest_pending_chunks{instance="a"}': "40x5", 'lookalike_ingest_pending_chunks{instance="b"}': "40x5"},
        {"A": {"{}": 40}},
    ),
    "What services need": (
        {
            'lookalike_dependency_up{job="lookalike-gateway", instance="a", dependency="redis"}': "1x5",
            'lookalike_dependency_up{job="lookalike-gateway", instance="b", dependency="redis"}': "0x5",
        },
        {"A": {'{job="lookalike-gateway", dependency="redis"}': 0}},
    ),
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
@pytest.mark.parametrize("title", SHOWN)
def test_with_two_of_each_service_a_panel_shows_what_its_title_says(title: str, tmp_path: Path) -> None:
    series, shown = SHOWN[title]
    queries = {target["refId"]: target["expr"] for target in panel(title)["targets"]}
    assert queries.keys() == shown.keys()
    asked = [
        {
            "expr": queries[ref],
            "eval_time": "3m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in values.items()],
        }
        for ref, values in shown.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    file = tmp_path / "panel.yaml"
    tests = [{"interval": "1m", "input_series": given, "promql_expr_test": asked}]
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
