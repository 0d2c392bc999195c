"""What operators see of a system: every metric that panels and alerts name, answers to their queries, and whole traces."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lookalike.client import Client, FolderSource
from lookalike.demo import dataset
from lookalike.errors import NotFound
from tests.servers import processes
from tests.servers.collector import Span
from tests.servers.stack import Stack

OBSERVABILITY = Path(__file__).parents[2] / "deploy" / "observability"
RULES = OBSERVABILITY / "rules" / "lookalike.rules.yaml"
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
COLLECTION = "observed"
_SUFFIX = re.compile(r"_(bucket|sum|count|total|info)$")
_NO_GPU_HERE = "lookalike_embedder_gpu_memory_bytes"


@dataclass(frozen=True)
class Seen:
    """A system that has been used: what it exports, by name, with the labels it was seen with."""

    stack: Stack
    job: str
    families: dict[str, set[str]]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panel_queries() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


def metrics_in(expression: str) -> set[str]:
    """Names of metrics in PromQL: what is ours or a process', and no function, label or keyword."""
    without_strings = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:lookalike|process)_[a-z0-9_]+|lookalike:[a-z0-9_:]+|\bup\b", without_strings))


@pytest.fixture(scope="module")
def seen(stack: Stack) -> Seen:
    """A job with a bad item, and searches of every kind, one of which is refused."""
    pictures = stack.inside.sources / "observed"
    pictures.mkdir()
    images, _ = dataset.split()
    with stack.client() as client:
        for number in range(40):
            (pictures / f"{number}.png").write_bytes(images.png(number))
        (pictures / "bad.png").write_bytes(b"no picture")
        client.create_collection(COLLECTION, model="fashion")
        made = client.create_ingest_job(COLLECTION, FolderSource(str(pictures)))
        *_, job = client.watch_job(made.id)
        assert (job.counts.indexed, job.counts.failed) == (40, 1)
        query = (pictures / "3.png").read_bytes()
        for spaces in (("siamese",), ("histogram", "siamese")):
            for _ in range(3):
                client.search(COLLECTION, image=query, spaces=spaces)
        _refused(client)
    httpx.get(f"{stack.http_url}/readyz").raise_for_status()
    families: dict[str, set[str]] = {}
    for address in stack.inside.scraped.values():
        for family in text_string_to_metric_families(httpx.get(f"http://{address}/metrics").text):
            labels = families.setdefault(_SUFFIX.sub("", family.name), set())
            labels.update(label for sample in family.samples for label in sample.labels)
    return Seen(stack, job.id, families)


def test_every_metric_that_a_panel_or_an_alert_names_is_exported(seen: Seen) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = {name for _, query in panel_queries() for name in metrics_in(query)}
    named |= {name for rule in rules() for name in metrics_in(rule["expr"])}
    assert len(named) > 30
    missing = {
        name for name in named - recorded - {"up"} if _SUFFIX.sub("", name) not in seen.families and name != _NO_GPU_HERE
    }
    assert missing == set()


def test_labels_have_few_values_and_none_that_a_caller_sent(seen: Seen) -> None:
    ours = {name: labels for name, labels in seen.families.items() if name.startswith("lookalike")}
    known = {
        "method", "code", "reason", "route", "dependency", "service", "version", "lane", "outcome", "stage", "source", "space",
        "le", "kind", "name", "model", "fingerprint", "current",
    }  # fmt: skip
    assert set().union(*ours.values()) <= known


def test_one_naming_scheme(seen: Seen) -> None:
    common = ("lookalike_rpc", "lookalike_dependency_up", "lookalike_build", "lookalike_ingest")
    own = tuple(f"lookalike_{service}_" for service in ("gateway", "embedder", "indexer"))
    assert [name for name in seen.families if name.startswith("lookalike") and not name.startswith(common + own)] == []


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian's package)")
def test_prometheus_answers_every_query_of_the_dashboards_and_alerts(seen: Seen, tmp_path: Path) -> None:
    with _prometheus(seen.stack, tmp_path) as url, seen.stack.client() as client, httpx.Client() as http:
        numbers = itertools.count(1)

        def value(expression: str) -> list[Any]:
            answer = http.get(f"{url}/api/v1/query", params={"query": expression}).json()
            assert answer["status"] == "success", (expression, answer)
            return list(answer["data"]["result"])

        def counted() -> bool:
            client.search(COLLECTION, image=_new_picture(next(numbers)), spaces=["siamese"])
            _search_by_http(seen.stack, _new_picture(next(numbers))).raise_for_status()
            rpc, http = 'lookalike:rpc_calls:rate5m{method=~".*SearchService/Search"} > 0', "lookalike:http_requests:rate5m > 0"
            return bool(value(rpc)) and bool(value(http))

        processes.until(counted, "two scrapes and a round of rules are done", timeout_s=60, poll_s=0.5)
        assert {one["metric"]["job"] for one in value("up == 1")} == {
            f"lookalike-{service}" for service in seen.stack.inside.scraped
        }
        empty = {title for title, expression in panel_queries() if not value(expression.replace("$__rate_interval", "1m"))}
        for rule in rules():
            value(rule["expr"])
        # What had no occasion: nothing was dropped, given back, refused or not loaded, and there is no GPU.
        assert empty <= {
            "Dropped before they were computed", "Chunks given back", "Memory of the GPU", "Errors", "Refused",
            "Where a chunk's time goes", "Time of a stage, 99 %", "Items a second", "Versions of models not loaded",
        }, empty  # fmt: skip
        alerts = http.get(f"{url}/api/v1/rules", params={"type": "alert"}).json()["data"]["groups"][0]["rules"]
        assert [rule["name"] for rule in alerts if rule["health"] != "ok" or rule["state"] == "firing"] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")
@pytest.mark.parametrize(
    "check",
    [
        ("check", "config", OBSERVABILITY / "prometheus.yaml"),
        ("check", "rules", RULES),
        ("test", "rules", RULES.with_name("lookalike.rules.test.yaml")),
    ],
    ids=lambda check: " ".join(map(str, check[:2])),
)
def test_promtool_finds_nothing(check: tuple[str | Path, ...]) -> None:
    done = subprocess.run(["promtool", *check], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_its_paragraph_in_the_runbook() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    tests = yaml.safe_load(RULES.with_name("lookalike.rules.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case.get("exp_alerts")}
    assert alerts == fired
    runbook = (OBSERVABILITY.parent / "README.md").read_text()
    assert [alert for alert in sorted(alerts) if f"#### {alert}\n" not in runbook] == []
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook"] == f"{rule['alert']}, in deploy/README.md of Lookalike's repository"


def test_a_search_is_one_trace_from_the_gateway_over_the_embedder_to_milvus(seen: Seen) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    _search_by_http(seen.stack, _new_picture(0), headers=parent).raise_for_status()
    spans = _whole(seen.stack, trace, {"HTTP POST", "milvus search", "compute"})
    ways = {tuple(_way(span, spans)) for span in spans}
    assert ("lookalike-gateway HTTP POST", "lookalike-gateway query_vectors", "lookalike-gateway embedder Embed",
            "lookalike-embedder lookalike.v1.EmbedderService/Embed", "lookalike-embedder compute") in ways  # fmt: skip
    assert ("lookalike-gateway HTTP POST", "lookalike-gateway nearest", "lookalike-gateway milvus search") in ways
    (root,) = (span for span in spans if span.name == "HTTP POST")
    assert root.attributes["http.route"] == "/v1/collections/{collection}/search"


def test_a_job_is_one_trace_from_the_call_that_made_it_to_its_writes(seen: Seen) -> None:
    chunk = _chunk_of(seen.stack, seen.job)
    spans = _whole(seen.stack, chunk.trace, {"plan", "chunk", "milvus upsert", "decode"})
    ways = {tuple(_way(span, spans)) for span in spans}
    made = "lookalike-gateway lookalike.v1.IngestService/CreateIngestJob"
    assert (made, "lookalike-indexer plan") in ways
    assert any(way[:2] == (made, "lookalike-indexer chunk") and way[-1] == "lookalike-indexer milvus upsert" for way in ways)
    assert any(way[:2] == (made, "lookalike-indexer chunk") and way[-1] == "lookalike-embedder decode" for way in ways)


def test_spans_hold_no_pictures_uris_or_texts_of_callers(seen: Seen) -> None:
    sent = (str(seen.stack.inside.sources), "observed/", "bad.png")
    for span in seen.stack.inside.collector.spans:
        shown = f"{span.name} {span.attributes} {span.failed}"
        assert not any(word in shown for word in sent), shown


def test_log_lines_are_json_objects_with_trace_and_job(seen: Seen) -> None:
    lines = [
        json.loads(line)
        for line in (seen.stack.inside.data / "logs" / "indexer.log").read_text().splitlines()
        if line[:1] == "{"
    ]
    planned = [line for line in lines if line["event"] == "planned" and line["job"] == seen.job]
    assert [line["service"] for line in planned] == ["indexer"]


def _new_picture(number: int) -> bytes:
    """A negative, which no other test of this system searches for: the gateway has no vector of it in its cache."""
    images, _ = dataset.split()
    return dataset.png(255 - images.images[number])


def _search_by_http(stack: Stack, picture: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    url = f"{stack.http_url}/v1/collections/{COLLECTION}/search"
    return httpx.post(url, files={"image": picture}, data={"spaces": "siamese"}, headers=headers)


def _refused(client: Client) -> None:
    with pytest.raises(NotFound):
        client.search("no_such_collection", image=b"x")


def _chunk_of(stack: Stack, job: str) -> Span:
    found: list[Span] = []

    def there() -> bool:
        found[:] = [
            one for one in stack.inside.collector.spans if one.name == "chunk" and one.attributes["lookalike.job"] == job
        ]
        return bool(found)

    processes.until(there, "the span of a chunk has come", timeout_s=30)
    return found[0]


def _whole(stack: Stack, trace: str, names: set[str]) -> list[Span]:
    """The spans of a trace, when those that are waited for have come, and all of their parents."""

    def there() -> bool:
        spans = stack.inside.collector.of(trace)
        ids = {span.id for span in spans}
        roots = [span for span in spans if span.parent not in ids]
        return names <= {span.name for span in spans} and len(roots) == 1

    processes.until(there, f"the spans {sorted(names)} of a trace have come", timeout_s=30)
    return stack.inside.collector.of(trace)


def _way(span: Span, spans: list[Span]) -> list[str]:
    """Service and name of a span and of those around it, outermost first."""
    by_id = {one.id: one for one in spans}
    way: list[str] = []
    at: Span | None = span
    while at is not None:
        way.insert(0, f"{at.service} {at.name}")
        at = by_id.get(at.parent)
    return way


@contextmanager
def _prometheus(stack: Stack, folder: Path) -> Iterator[str]:
    """Debian's Prometheus with our rules and the jobs of our configuration, scraping the stack every second; gives its URL."""
    ours = yaml.safe_load((OBSERVABILITY / "prometheus.yaml").read_text())
    jobs = [one["job_name"] for one in ours["scrape_configs"] if one["job_name"].startswith("lookalike-")]
    scraped = [
        {"job_name": job, "static_configs": [{"targets": [stack.inside.scraped[job.removeprefix("lookalike-")]]}]}
        for job in jobs
    ]
    every_second = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump({"global": every_second, "rule_files": [str(RULES)], "scrape_configs": scraped}))
    address = f"127.0.0.1:{processes.free_port()}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    options.append("--scrape.discovery-reload-interval=100ms")  # Prometheus would begin to scrape after 5 s.
    server = processes.start(["prometheus", *options], folder / "prometheus.log")
    url = f"http://{address}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/-/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    try:
        processes.until(ready, "Prometheus is ready", timeout_s=60)
        yield url
    finally:
        processes.stop(server)
